"""What a backbone's config means: which network it is, and what to type to get it."""

from __future__ import annotations

from typing import Any

from ssl_zoo.config import options_of, read_option
from ssl_zoo.types import UserError

# ResNets that torchvision and timm build alike: with bottlenecks or not, and blocks per stage.
RESNETS = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)),
    "resnet101": (True, (3, 4, 23, 3)),
    "resnet152": (True, (3, 8, 36, 3)),
}
_AS_PUBLISHED = {"stem": "imagenet", "width": 1.0}  # if a config does not say
_UNTRAINED = {"weights": None, "pretrained": False}
# A ViT's image size, to which its positions are interpolated.
_SIZES = ("img_size", "image_size", "dynamic_img_size")
# What does not depend on the function, the initial values and the padding: names and shapes.
_SAME_WEIGHTS = ("_target_", *_UNTRAINED, "zero_init_residual", "variant")
_GROUP = "backbone"  # of conf/
_MISSING = "???"  # of an option whose name the user gives


def short_name(config: dict[str, Any]) -> str:
    """What to call a backbone: resnet18, ConvNet."""
    return str(config.get("name", config["_target_"].rpartition(".")[2]))


def untrained(config: Any) -> Any:
    """A config, and those nested in it, without the keys that load pretrained weights."""
    if not isinstance(config, dict):
        return config
    return {key: _UNTRAINED.get(key, untrained(value)) for key, value in config.items()}


def same_as(config: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two networks of equal shapes also agree on settings that shapes do not reveal.

    Examples are strides and a ViT's number of heads.
    """
    keys = (config.keys() & other.keys() - {"name", *_SAME_WEIGHTS, *_SIZES}) | {"num_heads"}
    return all(config.get(key) == other.get(key) for key in keys)


def difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """Settings in which two networks of one name differ: "stem: cifar there, imagenet here"."""
    if short_name(there) != short_name(here):
        return ""
    there, here = _AS_PUBLISHED | _settings(there), _AS_PUBLISHED | _settings(here)
    keys = sorted((there.keys() | here.keys()) - {"name"})
    pairs = [(key, there.get(key, "unset"), here.get(key, "unset")) for key in keys]
    return "; ".join(f"{key}: {a} there, {b} here" for key, a, b in pairs if a != b)


def overrides(config: dict[str, Any]) -> str:
    """What to type to get this backbone: "backbone=resnet18 backbone.width=0.25".

    The option of conf/backbone with the same `_target_` that needs the fewest knobs set.
    """
    name, target = config.get("name", _MISSING), config["_target_"]
    if "variant" in config:  # its weights are those of torchvision's ResNet
        target = "ssl_zoo.backbones.torchvision_backbone"
    typed = []
    for option in options_of("backbone"):
        values = _option(option)
        if values.get("_target_") == target and values.get("name", _MISSING) in (name, _MISSING):
            typed.append([f"{_GROUP}={option}", *_knobs(config, values)])
    fewest = min(typed, key=len, default=[f"{_GROUP}._target_={target}", *_knobs(config, {})])
    return " ".join(fewest)


def library_name(config: dict[str, Any], library: str) -> str:
    """The name of the same network in torchvision or timm.

    Raises:
        UserError: If the library does not have it.
    """
    name, target = config.get("name"), config["_target_"].rpartition(".")[2]
    published = all(config.get(key, value) == value for key, value in _AS_PUBLISHED.items())
    theirs = target == f"{library}_backbone" or name in RESNETS
    if published and theirs and target in ("torchvision_backbone", "timm_backbone"):
        return str(name)
    what = " ".join(str(config[k]) for k in ("name", *_AS_PUBLISHED, "variant") if k in config)
    raise UserError(
        f"{what or target} is not a network of {library}: use the format safetensors, which takes "
        "every backbone"
    )


def library_options(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `timm.create_model` besides the name."""
    return {k: v for k, v in _settings(config).items() if k not in ("name", *_AS_PUBLISHED)}


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a config that determines the network."""
    return {key: value for key, value in config.items() if key not in _SAME_WEIGHTS}


def _option(name: str) -> dict[str, Any]:
    """An option of conf/backbone, merged over those in its defaults list."""
    values = read_option("backbone", name)
    for base in [entry for entry in values.pop("defaults", []) if isinstance(entry, str)]:
        values = values if base == "_self_" else _option(base) | values
    return values


def _knobs(config: dict[str, Any], option: dict[str, Any]) -> list[str]:
    """The overrides that turn an option into this backbone."""
    as_published = {key: value for key, value in _AS_PUBLISHED.items() if key in option}
    return [
        f"{'' if key in option else '+'}{_GROUP}.{key}={_typed(value)}"
        for key, value in (as_published | _settings(config)).items()
        if key not in option or option[key] != value
    ]


def _typed(value: Any) -> str:
    """A value as on a command line."""
    return "null" if value is None else str(value).replace(" ", "")
