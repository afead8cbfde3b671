"""Pretraining that goes on from a loaded backbone: `init=` of train.py."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from ssl_zoo.checkpoints.load import load_pretrained
from ssl_zoo.config import instantiate
from ssl_zoo.console import info, warn
from ssl_zoo.types import UserError

# The option of conf/backbone that each target has, and the keys that it knows.
_OPTIONS = {
    "torchvision_backbone": ("torchvision", ("name", "stem", "width")),
    "ported_resnet": ("torchvision", ("name", "stem", "width")),
    "timm_backbone": ("timm", ("name", "stem")),
    "ConvNet": ("convnet", ("widths", "strides")),
    "SmallResNet": ("small_resnet", ("widths", "depth")),
}
_DEFAULTS = {"stem": "imagenet", "width": 1.0}
_NO_SHAPE = ("_target_", "weights", "pretrained", "zero_init_residual", "variant")


def with_init(module: DictConfig, source: str) -> DictConfig:
    """A method's wiring, its backbone starting from the weights of `source`.

    The weights are there before the method is built, so that its momentum copies start from them.
    """
    wiring: Any = OmegaConf.to_container(module, resolve=True)
    wiring["backbone"] = {
        "_target_": "ssl_zoo.training.initialized",
        "_recursive_": False,
        "backbone": wiring["backbone"],
        "source": source,
    }
    started: DictConfig = OmegaConf.create(wiring)
    return started


def initialized(backbone: Any, source: str) -> nn.Module:
    """The backbone of a config with the weights of `source`.

    Args:
        backbone: Config of the backbone.
        source: As in `load_pretrained`.

    Raises:
        UserError: If they are of another architecture: naming both, and what to set.
    """
    config: Any = OmegaConf.to_container(OmegaConf.create(backbone), resolve=True)
    loaded = load_pretrained(source)
    if loaded.config is None:
        raise UserError(f"init={source} is a program, without weights to go on from")
    network: nn.Module = instantiate(OmegaConf.create(config))
    same = _shapes(network) == _shapes(loaded.backbone)
    if not same or not _agree(config, loaded.config):
        raise UserError(
            f"init={source} holds {_name(loaded.config)}, which is not backbone={_name(config)}"
            f"{_differences(loaded.config, config)}: set {_overrides(loaded.config)}"
        )
    network.load_state_dict(loaded.backbone.state_dict())
    if "variant" in loaded.config:
        warn(f"init={source} was trained with {loaded.config['variant']}, which backbone= has not")
    info(f"init={source}: the backbone starts from these weights, the heads start anew")
    return network


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _agree(config: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two configs of equal shapes differ in nothing that shows in no shape: strides ..."""
    keys = (config.keys() & other.keys() - {"name", *_NO_SHAPE}) | {"num_heads"}
    return all(config.get(key) == other.get(key) for key in keys)


def _name(config: dict[str, Any]) -> str:
    return str(config.get("name", config["_target_"].rpartition(".")[2]))


def _differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """In which options two networks of one name differ: " (stem: cifar there, imagenet here)"."""
    if _name(there) != _name(here):
        return ""
    there, here = _DEFAULTS | there, _DEFAULTS | here
    keys = sorted((there.keys() | here.keys()) - {"name", *_NO_SHAPE})
    pairs = [(key, there.get(key, "unset"), here.get(key, "unset")) for key in keys]
    shown = [f"{key}: {a} there, {b} here" for key, a, b in pairs if a != b]
    return f" ({'; '.join(shown)})" if shown else ""


def _overrides(config: dict[str, Any]) -> str:
    """What to write on the command line to get this backbone."""
    target = config["_target_"].rpartition(".")[2]
    option, known = _OPTIONS.get(target, (target, ()))
    values = {key: value for key, value in config.items() if key not in _NO_SHAPE}
    knobs = [
        f"{'' if key in known else '+'}backbone.{key}={str(value).replace(' ', '')}"
        for key, value in values.items()
    ]
    return " ".join([f"backbone={option}", *knobs])
