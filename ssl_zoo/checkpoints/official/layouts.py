"""Checkpoint files of other repositories, told apart by their keys."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from ssl_zoo.backbones import Stem, Variant
from ssl_zoo.checkpoints.unpickle import Array, Placeholder
from ssl_zoo.checkpoints.weights import (
    Pretrained,
    build_backbone,
    check_plain,
    fill,
    grouped,
    shown,
)
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.types import UserError

State = dict[str, Tensor]

_NOT_NORMALIZED = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_CIFAR_MEAN = (0.4914, 0.4822, 0.4465)


@dataclass(frozen=True)
class Layout:
    """How one repository saves.

    Attributes:
        name: Of the repository's method.
        prefix: Of the backbone's weights.
        places: Keys of the file under which the weights may lie; "" = the file is the weights.
        marks: Prefixes of weights that must be there too.
        without: Prefix of weights that must not, where another repository's names fit.
        beside: Keys of the file that must be there too.
        preprocess: Where it is not 224, 0.875 and ImageNet's statistics.
        cifar: The same, of networks with the 3x3 stem.
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
            state = _state(content.get(place) if place else content)
            own = [name.removeprefix(self.prefix) for name in state if name.startswith(self.prefix)]
            if self.without is not None and _has(state, self.without):
                continue
            if any(map(_STAGE.match, own)) and all(_has(state, mark) for mark in self.marks):
                return state, [shown(key) for key in content if place and key != place]
        return None


# a ResNet's first stage, by name or as a child of nn.Sequential; a ViT's blocks
_STAGE = re.compile(r"(layer1|blocks|2|4)\.\d+\.")
_PLACES = ("", "state_dict", "model")
_LIGHTNING = ("pytorch-lightning_version",)
_OLD_CIFAR = {"mean": _CIFAR_MEAN, "std": (0.2023, 0.1994, 0.2010)}
_SOLO = {"mean": _CIFAR_MEAN, "std": (0.2470, 0.2435, 0.2616)}

# Read from the top; what comes later would fit some of what comes before.
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
    # its loader scales to [0, 1] and no more; 96 pixels are those of its STL-10 runs
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
# Not from the list: the first is a pickle of haiku's, the second a plain state dict but for its
# statistics, which were never updated; its network takes images in [0, 1].
_BYOL = Layout("BYOL")
_CONVERTED = Layout("SimCLR (converted)", preprocess=_NOT_NORMALIZED)
_PLAIN = LAYOUTS[-1]
KNOWN = ", ".join(dict.fromkeys(["BYOL", *(layout.name for layout in LAYOUTS)]))


def load_official(content: Any, path: Path) -> Pretrained:
    """The backbone of another repository's checkpoint.

    Args:
        content: As read from the file.
        path: For messages.

    Raises:
        UserError: If the layout or the architecture is unknown, or weights are missing.
    """
    if isinstance(content, Mapping):
        if _is_byol(content):
            return _load(_BYOL, _byol_state(content, path), ["target_params"], path)
        for layout in LAYOUTS:
            found = layout.find(content)
            if found is not None:
                _check_tensors(found[0], layout, path)
                converted = layout is _PLAIN and _is_converted_simclr(content, found[0])
                return _load(_CONVERTED if converted else layout, *found, path)
    keys = islice(content, 4) if isinstance(content, Mapping) else [type(content).__name__]
    first = ", ".join(shown(key, 40) for key in keys)
    raise UserError(
        f"{path} was not saved by ssl_zoo, and its layout is unknown (it begins with "
        f"{first or 'nothing'}): known are {KNOWN}"
    )


def _load(layout: Layout, state: State, beside: list[str], path: Path) -> Pretrained:
    source = f"{path} ({layout.name})"
    length = len(layout.prefix)
    inside = {name[length:]: v for name, v in state.items() if name.startswith(layout.prefix)}
    weights = {_unnumbered(name, inside): value for name, value in inside.items()}
    config = _architecture(weights, source)
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
    return Pretrained(backbone.eval(), preprocess, config, report)


def _variant(layout: Layout, cifar: bool, inside: State) -> Variant | None:
    if layout is _BYOL:
        return "same_padding"
    if _has(inside, "2.0."):
        return "no_stem_relu"
    return layout.cifar_variant if cifar else None


def _preprocess(layout: Layout, cifar: bool, config: dict[str, Any]) -> Preprocess:
    options = {"image_size": 224, "crop_fraction": 0.875} | layout.preprocess
    if cifar:
        options = {"image_size": 32, "crop_fraction": 1.0} | layout.cifar
    options["image_size"] = config.get("img_size", options["image_size"])
    return Preprocess(**options)


# --- names ----------------------------------------------------------------------------------------

# nn.Sequential(*resnet.children()), as torchvision orders them, and as lightly's own ResNet does
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_LIGHTLY = {"0": "conv1", "1": "bn1", "2": "layer1", "3": "layer2", "4": "layer3", "5": "layer4"}


def _has(state: Mapping[str, Any], prefix: str) -> bool:
    return any(isinstance(name, str) and name.startswith(prefix) for name in state)


def _state(found: Any) -> State:
    """The tensors of a state dict, without a parallel wrapper's prefix; empty if it is none."""
    if not isinstance(found, Mapping):
        return {}
    tensors = {
        name: value
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return {_renamed(name): value for name, value in tensors.items()}


def _renamed(name: str) -> str:
    """SupCon wraps its encoder alone; several repositories have ResNets with a `shortcut`."""
    return name.replace("encoder.module.", "encoder.").replace(".shortcut.", ".downsample.")


def _unnumbered(name: str, names: Mapping[str, Any]) -> str:
    """The name of a ResNet's child where a Sequential numbers them."""
    number, _, rest = name.partition(".")
    children = _LIGHTLY if _has(names, "2.0.") else _CHILDREN if _has(names, "4.0.") else {}
    return f"{children.get(number, number)}.{rest}" if rest else name


def _is_converted_simclr(content: Mapping[str, Any], state: State) -> bool:
    """Whether these are TensorFlow's weights: in a network of torch that never ran in training."""
    counts = [value for name, value in state.items() if name.endswith("num_batches_tracked")]
    fresh = bool(counts) and not any(bool(count.any()) for count in counts)
    return list(content) == ["state_dict"] and fresh and "fc.weight" in state


def _check_tensors(state: State, layout: Layout, path: Path) -> None:
    """Refuse odd tensors of the backbone before anything is read from them."""
    for name, value in state.items():
        if name.startswith(layout.prefix):
            check_plain(name.removeprefix(layout.prefix), value, f"{path} ({layout.name})")


# --- architectures --------------------------------------------------------------------------------

_RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
_STEMS: dict[int, Stem] = {7: "imagenet", 3: "cifar"}
_VITS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}
_MAX_WIDTH = 8  # times a ResNet's own; SwAV's widest has 5
_MAX_IMAGE_SIZE = 1024


def _architecture(weights: State, source: str) -> dict[str, Any]:
    """The config of the untrained network.

    Raises:
        UserError: If it is none that is known.
    """
    return _vit(weights, source) if _has(weights, "blocks.") else _resnet(weights, source)


def _shape(weights: State, name: str, dims: int, source: str) -> torch.Size:
    if name not in weights:
        raise UserError(f"{source} lacks the backbone's {name}")
    shape = weights[name].shape
    if len(shape) != dims:
        raise UserError(f"{source} is no known architecture: {name} has {len(shape)} dimensions")
    return shape


def _resnet(weights: State, source: str) -> dict[str, Any]:
    channels, _, side, _ = _shape(weights, "conv1.weight", 4, source)
    names = [re.match(r"layer([1-4])\.(\d+)\.", name) for name in weights]
    blocks = {(int(found[1]), int(found[2])) for found in names if found}
    depths = tuple(sum(stage == s for s, _ in blocks) for stage in (1, 2, 3, 4))
    bottleneck = any(".conv3." in name for name in weights)
    name = _RESNETS.get((bottleneck, depths))
    width = channels / 64
    if name is None or side not in _STEMS or width > _MAX_WIDTH:
        raise UserError(
            f"{source} is no known architecture: a ResNet of {'-'.join(map(str, depths))} "
            f"{'bottleneck' if bottleneck else 'basic'} blocks, with {channels} channels and a "
            f"kernel of {side} in its stem; known are {', '.join(_RESNETS.values())}"
        )
    return {
        "_target_": "ssl_zoo.backbones.torchvision_backbone",
        "name": name,
        "stem": _STEMS[side],
        "width": width,
    }


def _vit(weights: State, source: str) -> dict[str, Any]:
    dim, _, patch, _ = _shape(weights, "patch_embed.proj.weight", 4, source)
    _, tokens, _ = _shape(weights, "pos_embed", 3, source)
    grid = math.isqrt(max(tokens - 1, 0))
    size = _VITS.get(dim)
    if size is None or grid**2 != tokens - 1 or not 0 < grid * patch <= _MAX_IMAGE_SIZE:
        raise UserError(
            f"{source} is no known architecture: a ViT of width {dim} with patches of {patch} and "
            f"{tokens} tokens; known are the widths {', '.join(map(str, _VITS))} with a class token"
        )
    name = f"vit_{size}_patch{patch}_224"
    if not timm.is_model(name):
        name = f"vit_{size}_patch{14 if size == 'huge' else 16}_224"
    config = {
        "_target_": "ssl_zoo.backbones.timm_backbone",
        "name": name,
        "img_size": grid * patch,
        "patch_size": patch,
    }
    # MoCo v3's small and tiny ViTs have 12 heads, which shows in no shape; their fixed position
    # embedding, of sines, is 0 at the class token, where all others learn it.
    if size in ("tiny", "small") and not weights["pos_embed"][:, 0].any():
        config["num_heads"] = 12
    return config


# --- BYOL -----------------------------------------------------------------------------------------


def _tree(node: Any) -> dict[str, Any]:
    """A mapping of haiku's: a dict, or a foreign class that was made of one."""
    if isinstance(node, Placeholder) and node.args:
        node = node.args[0]
    items = node.items() if isinstance(node, Mapping) else ()
    return {name: value for name, value in items if isinstance(name, str)}


def _experiment(content: Mapping[str, Any]) -> tuple[Any, ...]:
    """(online_params, target_params, online_state, target_state, opt_state), or nothing."""
    state = content.get("experiment_state")
    fields = state.args if isinstance(state, Placeholder) else ()
    return fields if len(fields) == 5 else ()


def _is_byol(content: Mapping[str, Any]) -> bool:
    fields = _experiment(content)
    return bool(fields) and _has(_tree(fields[0]), "res_net")


# haiku counts from 0, torchvision from 1
_HAIKU_LAYERS = {
    "initial_conv": "conv1",
    "initial_batchnorm": "bn1",
    "shortcut_conv": "downsample.0",
    "shortcut_batchnorm": "downsample.1",
    **{f"conv_{i}": f"conv{i + 1}" for i in range(3)},
    **{f"batchnorm_{i}": f"bn{i + 1}" for i in range(3)},
}
_HAIKU_LEAVES = {
    "w": "weight",
    "scale": "weight",
    "offset": "bias",
    "mean_ema": "running_mean",
    "var_ema": "running_var",
}
_HAIKU_MODULE = re.compile(r"res_net\w*/~/(?:block_group_(\d)/~/block_(\d+)/~/)?(\w+)")


def _haiku_name(module: str) -> str:
    """A haiku module under torchvision's name; heads keep their own."""
    found = _HAIKU_MODULE.fullmatch(module)
    if found is None:
        return module
    group, block, layer = found.groups()
    stage = f"layer{int(group) + 1}.{block}." if group else ""
    return stage + _HAIKU_LAYERS.get(layer, layer)


def _byol_state(content: Mapping[str, Any], path: Path) -> State:
    """The online network under torchvision's names; heads keep their own."""
    online, _, averages, _, _ = _experiment(content)
    state: State = {}
    for module, leaves in _tree(online).items():
        for leaf, value in _tree(leaves).items():
            state[f"{_haiku_name(module)}.{_HAIKU_LEAVES.get(leaf, leaf)}"] = _tensor(value, path)
    for module, leaves in _tree(averages).items():
        owner, _, kind = module.rpartition("/~/")
        value = _tree(leaves).get("average")
        state[f"{_haiku_name(owner)}.{_HAIKU_LEAVES.get(kind, kind)}"] = _tensor(value, path)
    return state


def _tensor(value: Any, path: Path) -> Tensor:
    """HWIO becomes OIHW; norms lose their dimensions of 1."""
    if not isinstance(value, Array):
        raise UserError(f"{path} (BYOL) holds weights that are no plain arrays")
    tensor = torch.from_numpy(value.value.copy())
    if tensor.ndim == 4 and tensor.shape[:3] == (1, 1, 1):
        return tensor.flatten()
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor
