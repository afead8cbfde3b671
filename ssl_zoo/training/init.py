"""Pretraining that continues from a loaded backbone: `init=` of train.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ssl_zoo.backbones.positions import fitted, grid_of
from ssl_zoo.backbones.spec import difference, overrides, same_as, short_name
from ssl_zoo.checkpoints import Hints, hints_of, load_pretrained
from ssl_zoo.config import instantiate
from ssl_zoo.console import info, warn
from ssl_zoo.types import UserError


def with_init(module: DictConfig, source: str, hints: Hints) -> DictConfig:
    """A method's wiring, its backbone starting from the weights of `source`.

    The weights are loaded before the method is built, so that its momentum copies start from them.
    """
    wiring: Any = OmegaConf.to_container(module, resolve=True)
    wiring["backbone"] = {
        "_target_": "ssl_zoo.training.initialized",
        "_recursive_": False,
        "backbone": wiring["backbone"],
        "source": source,
        **hints._asdict(),
    }
    started: DictConfig = OmegaConf.create(wiring)
    return started


def initialized(backbone: Any, source: str, **hints: Any) -> nn.Module:
    """The backbone of a config with the weights of `source`.

    A ViT's positions are interpolated where the backbone has another image size.

    Args:
        backbone: Config of the backbone.
        source: As in `load_pretrained`.
        **hints: As in `load_backbone`.

    Raises:
        UserError: If they have another architecture: naming both, and what to set.
    """
    config: Any = OmegaConf.to_container(OmegaConf.create(backbone), resolve=True)
    loaded = load_pretrained(source, hints=hints_of(hints))
    if loaded.config is None:
        raise UserError(f"init={source} is a program without weights to start from")
    network: nn.Module = instantiate(OmegaConf.create(config))
    weights = fitted(loaded.backbone.state_dict(), network)
    fits = _shapes(network.state_dict()) == _shapes(weights)
    if not fits or not same_as(config, loaded.config):
        differs = difference(loaded.config, config)
        raise UserError(
            f"init={source} holds {short_name(loaded.config)}, which is not "
            f"backbone={short_name(config)}{f' ({differs})' if differs else ''}: "
            f"set {overrides(loaded.config)}"
        )
    network.load_state_dict(weights)
    if (grids := (grid_of(loaded.backbone), grid_of(network)))[0] != grids[1]:
        there, here = ("x".join(map(str, grid or ())) for grid in grids)
        info(f"init={source}: positions of {there} patches interpolated to {here}")
    if "variant" in loaded.config:
        warn(f"init={source} was trained with {loaded.config['variant']}, which backbone= lacks")
    info(f"init={source}: the backbone starts from these weights, the heads are new")
    return network


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}
