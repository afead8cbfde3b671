"""Checkpoint files of other repositories, recognised by their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ssl_zoo.backbones import Variant
from ssl_zoo.checkpoints.loaded import Loaded
from ssl_zoo.checkpoints.official.architectures import architecture
from ssl_zoo.checkpoints.official.byol import byol_state, is_byol
from ssl_zoo.checkpoints.official.names import State, has, is_converted_simclr, state_of, unnumbered
from ssl_zoo.checkpoints.weights import build_backbone, check_plain, fill, grouped, shown
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.types import UserError

_NOT_NORMALIZED = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_CIFAR_MEAN = (0.4914, 0.4822, 0.4465)


@dataclass(frozen=True)
class Layout:
    """How one repository saves.

    Attributes:
        name: Name of the repository's method.
        prefix: Prefix of the backbone's weights.
        places: Keys of the file under which the weights may lie; "" = the file is the weights.
        marks: Prefixes of other weights that must be there.
        without: Prefix of weights that must be absent, since they mark another repository.
        beside: Other keys of the file that must be there.
        preprocess: If it is not 224, 0.875 and ImageNet's statistics.
        cifar: The same, for networks with the 3x3 stem.
        cifar_variant: How a network with the 3x3 stem differs from ours.
    """

    name: str
    prefix: str = ""
    places: tuple[str, ...] = ("state_dict",)
    marks: tuple[str, ...] = ()
    without: str | None = None
    beside: tuple[str, ...] = ()
    preprocess: dict[str, Any] = field(default_factory=dict)
    cifar: dict[str, Any] = field(default_factory=dict)
    cifar_variant: Variant | None = None

    def find(self, content: Mapping[str, Any]) -> tuple[State, list[str]] | None:
        """The weights and the file's other keys, where it has this layout, else None."""
        if not all(key in content for key in self.beside):
            return None
        for place in self.places:
            state = state_of(content.get(place) if place else content)
            own = [name.removeprefix(self.prefix) for name in state if name.startswith(self.prefix)]
            if self.without is not None and has(state, self.without):
                continue
            if any(map(_STAGE.match, own)) and all(has(state, mark) for mark in self.marks):
                return state, [shown(key) for key in content if place and key != place]
        return None


# a ResNet's first stage, by name or as a child of nn.Sequential; a ViT's blocks
_STAGE = re.compile(r"(layer1|blocks|2|4)\.\d+\.")
_PLACES = ("", "state_dict", "model")
_LIGHTNING = ("pytorch-lightning_version",)
_OLD_CIFAR = {"mean": _CIFAR_MEAN, "std": (0.2023, 0.1994, 0.2010)}
_SOLO = {"mean": _CIFAR_MEAN, "std": (0.2470, 0.2435, 0.2616)}

# The first that fits is taken; later ones would also fit some files of earlier ones.
LAYOUTS = (
    Layout("MoCo v1/v2", "encoder_q.", _PLACES),
    Layout("MoCo v3", "base_encoder.", _PLACES),
    Layout("SimSiam", "encoder.", _PLACES, marks=("encoder.fc.", "predictor.")),
    Layout("SupCon", "encoder.", ("model",), marks=("head.",), cifar=_OLD_CIFAR),
    Layout("SwAV", places=_PLACES, marks=("projection_head.", "prototypes.")),
    Layout("Barlow Twins", "backbone.", _PLACES, marks=("projector.", "bn.")),
    # solo-learn, whose 3x3 stem differs, has a classifier besides
    Layout("VICReg", "backbone.", _PLACES, marks=("projector.",), without="classifier."),
    Layout("DINO", "backbone.", ("teacher",), marks=("head.",), beside=("student",)),
    Layout("InstDisc", "", ("state_dict", "net"), beside=("lemniscate",), cifar=_OLD_CIFAR),
    # its loader only scales to [0, 1]; 96 pixels as in its STL-10 runs
    Layout(
        "SimCLR (sthalles)",
        "backbone.",
        marks=("backbone.fc.",),
        preprocess={"image_size": 96, "crop_fraction": 1.0, **_NOT_NORMALIZED},
    ),
    Layout(
        "SimCLR (sthalles, 2020)",
        "features.",
        _PLACES,
        marks=("l1.", "l2."),
        preprocess={"image_size": 96, "crop_fraction": 1.0, **_NOT_NORMALIZED},
    ),
    Layout(
        "solo-learn",
        "backbone.",
        marks=("classifier.",),
        beside=_LIGHTNING,
        cifar=_SOLO,
        cifar_variant="solo_cifar",
    ),
    Layout(
        "solo-learn (2021)",
        "encoder.",
        marks=("classifier.",),
        beside=_LIGHTNING,
        cifar=_SOLO,
        cifar_variant="solo_cifar",
    ),
    Layout("lightly", "backbone.", beside=_LIGHTNING),
    Layout("a plain state dict", places=_PLACES),
)
# Not in the list: the first is a haiku pickle, the second a plain state dict except that its
# statistics were never updated; its network takes images in [0, 1].
_BYOL = Layout("BYOL")
_CONVERTED = Layout("SimCLR (converted)", preprocess=_NOT_NORMALIZED)
_PLAIN = LAYOUTS[-1]
KNOWN = ", ".join(dict.fromkeys(["BYOL", *(layout.name for layout in LAYOUTS)]))


def load_official(content: Any, path: Path) -> Loaded:
    """The backbone of another repository's checkpoint.

    Args:
        content: As read from the file.
        path: For messages.

    Raises:
        UserError: If the layout or the architecture is unknown, or weights are missing.
    """
    if isinstance(content, Mapping):
        if is_byol(content):
            return _load(_BYOL, byol_state(content, path), ["target_params"], path)
        for layout in LAYOUTS:
            found = layout.find(content)
            if found is not None:
                _check_tensors(found[0], layout, path)
                converted = layout is _PLAIN and is_converted_simclr(content, found[0])
                return _load(_CONVERTED if converted else layout, *found, path)
    keys = islice(content, 4) if isinstance(content, Mapping) else [type(content).__name__]
    first = ", ".join(shown(key, 40) for key in keys)
    raise UserError(
        f"{path} was not saved by ssl_zoo, and its layout is unknown (it begins with "
        f"{first or 'nothing'}): known are {KNOWN}"
    )


def _load(layout: Layout, state: State, beside: list[str], path: Path) -> Loaded:
    source = f"{path} ({layout.name})"
    length = len(layout.prefix)
    inside = {name[length:]: v for name, v in state.items() if name.startswith(layout.prefix)}
    weights = {unnumbered(name, inside): value for name, value in inside.items()}
    config = architecture(weights, source)
    cifar = config.get("stem") == "cifar"
    variant = _variant(layout, cifar, inside)
    if variant is not None:
        config |= {"_target_": "ssl_zoo.backbones.ported_resnet", "variant": variant}
    backbone = build_backbone(config)
    left = [layout.prefix + name.split(".")[0] for name in fill(backbone, weights, source)]
    left += [name.split(".")[0] for name in state if not name.startswith(layout.prefix)]
    preprocess = _preprocess(layout, cifar, config)
    report = (
        f"{source}: {config['name']}, {len(backbone.state_dict())} weights loaded, none missing; "
        f"left over: {grouped(left)}{', and ' + ', '.join(beside) if beside else ''}; images: "
        f"{preprocess.image_size} pixels, {'normalised' if preprocess.mean.any() else '0 to 1'}"
    )
    return Loaded(backbone.eval(), preprocess, config, report)


def _variant(layout: Layout, cifar: bool, inside: State) -> Variant | None:
    if layout is _BYOL:
        return "same_padding"
    if has(inside, "2.0."):
        return "no_stem_relu"
    return layout.cifar_variant if cifar else None


def _preprocess(layout: Layout, cifar: bool, config: dict[str, Any]) -> Preprocess:
    options = {"image_size": 224, "crop_fraction": 0.875} | layout.preprocess
    if cifar:
        options = {"image_size": 32, "crop_fraction": 1.0} | layout.cifar
    options["image_size"] = config.get("img_size", options["image_size"])
    return Preprocess(**options)


def _check_tensors(state: State, layout: Layout, path: Path) -> None:
    """Refuse malformed tensors of the backbone before anything is read from them."""
    for name, value in state.items():
        if name.startswith(layout.prefix):
            check_plain(name.removeprefix(layout.prefix), value, f"{path} ({layout.name})")
