"""How other repositories save: what only they write, and what their shapes do not tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ssl_zoo.backbones import Variant
from ssl_zoo.checkpoints.official.names import State, has

_NOT_NORMALIZED = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_CIFAR_MEAN = (0.4914, 0.4822, 0.4465)


@dataclass(frozen=True)
class Layout:
    """How one repository saves.

    Attributes:
        name: Name of the repository's method.
        prefix: The end of what the backbone's names begin with.
        marks: Beginnings of other names that must be there, where the prefix begins.
        without: One that must be absent, since it marks another repository.
        beside: Keys of the file that must be there.
        never: Keys of the file that it does not write.
        preprocess: If it is not 224, 0.875 and ImageNet's statistics.
        cifar: The same, for networks with the 3x3 stem.
        cifar_variant: How a network with the 3x3 stem differs from ours.
        heads: Attention heads of its ViTs by width, where they are not as published elsewhere.
    """

    name: str
    prefix: str = ""
    marks: tuple[str, ...] = ()
    without: str | None = None
    beside: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    preprocess: dict[str, Any] = field(default_factory=dict)
    cifar: dict[str, Any] = field(default_factory=dict)
    cifar_variant: Variant | None = None
    heads: dict[int, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name as a value of ckpt_layout: "solo_learn"."""
        return re.sub(r"\W+", "_", self.name.lower()).strip("_")

    @property
    def evidence(self) -> str:
        """What it is recognised by."""
        return ", ".join(filter(None, [self.prefix, *self.marks, *self.beside]))

    def root(self, prefix: str) -> str | None:
        """What a backbone's prefix has before this layout's; None if it ends otherwise."""
        if not f".{prefix}".endswith(f".{self.prefix}"):
            return None
        return prefix[: len(prefix) - len(self.prefix)]

    def fits(self, prefix: str, state: State, content: Mapping[str, Any]) -> bool:
        """Whether a backbone with this prefix was saved by this repository."""
        root = self.root(prefix)
        if root is None or not all(key in content for key in self.beside):
            return False
        if any(key in content for key in self.never):
            return False
        if self.without is not None and has(state, root + self.without):
            return False
        return all(has(state, root + mark) for mark in self.marks)


_LIGHTNING = ("pytorch-lightning_version",)
_OLD_CIFAR = {"mean": _CIFAR_MEAN, "std": (0.2023, 0.1994, 0.2010)}
_STHALLES = {"image_size": 96, "crop_fraction": 1.0, **_NOT_NORMALIZED}
_SOLO: dict[str, Any] = {
    "beside": _LIGHTNING,
    "never": ("hyper_parameters",),  # its modules do not call save_hyperparameters
    "cifar": {"mean": _CIFAR_MEAN, "std": (0.2470, 0.2435, 0.2616)},
    "cifar_variant": "solo_cifar",
}
_TWELVE = {192: 12, 384: 12}  # MoCo v3's small ViT, and solo-learn's tiny one after it

# The first that fits is taken; later ones would also fit some files of earlier ones.
LAYOUTS = (
    Layout("OpenMMLab", "backbone.", beside=("meta", "state_dict")),
    Layout("OpenMMLab (MoCo)", "encoder_q.0.", beside=("meta", "state_dict")),
    Layout("OpenMMLab (BYOL)", "online_net.0.", beside=("meta", "state_dict")),
    Layout("VISSL", "trunk._feature_blocks.", beside=("classy_state_dict",)),
    Layout("BYOL (lucidrains)", "online_encoder.net.", marks=("target_encoder.",)),
    Layout("MoCo v1/v2", "encoder_q."),
    Layout("MoCo v3", "base_encoder.", heads=_TWELVE),
    Layout("I-JEPA", "target_encoder.", marks=("encoder.", "predictor.")),
    Layout("SimSiam", "encoder.", marks=("encoder.fc.", "predictor.")),
    Layout("SupCon", "encoder.", marks=("head.",), beside=("opt", "model"), cifar=_OLD_CIFAR),
    Layout("SwAV", marks=("projection_head.", "prototypes.")),
    Layout("Barlow Twins", "backbone.", marks=("projector.", "bn.")),
    Layout("VICReg", "backbone.", marks=("projector.",), without="classifier."),
    Layout("DINOv2", "teacher.backbone.", marks=("teacher.dino_head.",)),
    Layout("DINO", "teacher.backbone.", marks=("teacher.head.",), beside=("student", "teacher")),
    Layout("InstDisc", beside=("lemniscate",), cifar=_OLD_CIFAR),
    # its loader only scales to [0, 1]; 96 pixels as in its STL-10 runs; its head is an MLP
    Layout(
        "SimCLR (sthalles)",
        "backbone.",
        marks=("backbone.fc.0.",),
        beside=("arch", "optimizer"),
        preprocess=_STHALLES,
    ),
    Layout("SimCLR (sthalles, 2020)", "features.", marks=("l1.", "l2."), preprocess=_STHALLES),
    # a classifier beside the backbone is anybody's; with the projector they are solo-learn's
    Layout("solo-learn", "backbone.", marks=("classifier.", "projector."), **_SOLO),
    Layout("solo-learn (2021)", "encoder.", marks=("classifier.", "projector."), **_SOLO),
    Layout("lightly", "backbone.", marks=("projection_head.layers.",), beside=_LIGHTNING),
)
# Never concluded: a haiku pickle; whatever no layout fits; and what nothing in a file tells, since
# the converter writes just what torchvision's weights under `state_dict` are.
HAIKU = Layout("BYOL")  # a pickled experiment of DeepMind
PLAIN = Layout("a plain state dict")
CONVERTED = Layout("SimCLR (converted)", preprocess=_NOT_NORMALIZED)
KNOWN = ", ".join(dict.fromkeys(["BYOL", *(one.name for one in (*LAYOUTS, CONVERTED, PLAIN))]))
CHOICES = {**{one.key: one for one in (*LAYOUTS, CONVERTED)}, "plain": PLAIN}


def first_fit(
    prefixes: Iterable[str], state: State, content: Mapping[str, Any]
) -> tuple[Layout, str] | None:
    """The first layout that fits one of the backbones, and this one's prefix."""
    prefixes = list(prefixes)
    for layout in LAYOUTS:
        for prefix in prefixes:
            if layout.fits(prefix, state, content):
                return layout, prefix
    return None


def could_be_solo_learns(prefix: str, state: State) -> bool:
    """Whether solo-learn's two heads lie beside a backbone that Lightning did not save."""
    roots = [one.root(prefix) for one in LAYOUTS if one.cifar_variant == "solo_cifar"]
    return any(
        root is not None and has(state, f"{root}classifier.") and has(state, f"{root}projector.")
        for root in roots
    )
