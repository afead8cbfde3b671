"""Pretraining that continues from a loaded backbone: `init=` of train.py."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from ssl_zoo.backbones.spec import difference, overrides, same_as, short_name
from ssl_zoo.checkpoints import load_pretrained
from ssl_zoo.config import instantiate
from ssl_zoo.console import info, warn
from ssl_zoo.types import UserError


def with_init(module: DictConfig, source: str) -> DictConfig:
    """A method's wiring, its backbone starting from the weights of `source`.

    The weights are loaded before the method is built, so that its momentum copies start from them.
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
        UserError: If they have another architecture: naming both, and what to set.
    """
    config: Any = OmegaConf.to_container(OmegaConf.create(backbone), resolve=True)
    loaded = load_pretrained(source)
    if loaded.config is None:
        raise UserError(f"init={source} is a program without weights to start from")
    network: nn.Module = instantiate(OmegaConf.create(config))
    fits = _shapes(network) == _shapes(loaded.backbone)
    if not fits or not same_as(config, loaded.config):
        differs = difference(loaded.config, config)
        raise UserError(
            f"init={source} holds {short_name(loaded.config)}, which is not "
            f"backbone={short_name(config)}{f' ({differs})' if differs else ''}: "
            f"set {overrides(loaded.config)}"
        )
    network.load_state_dict(loaded.backbone.state_dict())
    if "variant" in loaded.config:
        warn(f"init={source} was trained with {loaded.config['variant']}, which backbone= lacks")
    info(f"init={source}: the backbone starts from these weights, the heads are new")
    return network


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}
