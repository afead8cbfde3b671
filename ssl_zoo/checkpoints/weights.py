"""How a config becomes a backbone, and weights are put into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from ssl_zoo.backbones.spec import untrained
from ssl_zoo.config import check_targets, instantiate
from ssl_zoo.types import UserError


def build_backbone(config: dict[str, Any]) -> nn.Module:
    """The backbone that a plain config describes, randomly initialised; nothing is downloaded."""
    check_targets(config)
    backbone: nn.Module = instantiate(OmegaConf.create(untrained(config)))
    return backbone


def fill(backbone: nn.Module, weights: Mapping[str, Tensor], source: str) -> list[str]:
    """Put weights into a backbone, all of its own and of the right shapes.

    Args:
        backbone: Changed in place.
        weights: Under the backbone's names; heads may lie beside them.
        source: For messages.

    Returns:
        The names that are left over.

    Raises:
        UserError: If one is missing, has another shape or is not made of finite real numbers, or a
            left-over one belongs to a part of the network that the backbone has (then it is another
            architecture).
    """
    expected = backbone.state_dict()
    parts = {name.split(".")[0] for name in expected}
    # files from before torch 0.4.1 have no num_batches_tracked
    needed = {name for name in expected if not name.endswith(".num_batches_tracked")}
    missing = sorted(needed - weights.keys())
    if missing:
        raise UserError(f"{source} lacks {len(missing)} of the backbone's weights: {_few(missing)}")
    for name, value in expected.items():
        if name in weights:
            check_plain(name, weights[name], source)
            _check_fits(name, weights[name], value, source)
    left = [name for name in weights if name not in expected]
    foreign = [name for name in left if name.split(".")[0] in parts]
    if foreign:
        raise UserError(f"{source} is not a known architecture: it has {_few(foreign)} besides")
    own = {name: weights[name] for name in expected if name in weights}
    backbone.load_state_dict(own, strict=False)
    return left


def check_plain(name: str, value: Any, source: str) -> None:
    """Refuse what is not a dense tensor, and tensors that claim more numbers than the file holds.

    Raises:
        UserError: Naming it.
    """
    plain = isinstance(value, Tensor) and not value.is_quantized
    if (
        not plain
        or value.layout != torch.strided
        or value.device.type == "meta"
        or value.numel() * value.element_size() > value.untyped_storage().nbytes()
    ):
        raise UserError(f"{source}: {shown(name)} is not a plain tensor of the file")


def _check_fits(name: str, value: Tensor, expected: Tensor, source: str) -> None:
    if value.shape != expected.shape:
        raise UserError(
            f"{source} is not a known architecture: {name} is {_size(value)} where "
            f"{_size(expected)} was expected"
        )
    # counters may be floats: averages of checkpoints have such
    real = not value.is_complex() and value.dtype != torch.bool
    if not (value.is_floating_point() or (real and not expected.is_floating_point())):
        raise UserError(
            f"{source}: {name} holds {_dtype(value)} numbers where {_dtype(expected)} was expected"
        )
    if not value.float().isfinite().all():
        raise UserError(f"{source}: {name} holds NaN or infinite numbers")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def shown(key: Any, length: int = 80) -> str:
    """A key of a file, cut short and without what a terminal would obey."""
    # the text of nested tuples can be endless
    return repr(key if isinstance(key, str) else type(key).__name__)[1:-1][:length]


def _few(names: list[str]) -> str:
    return ", ".join(map(shown, names[:3])) + (" ..." if len(names) > 3 else "")


def _size(tensor: Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "a number"


def grouped(names: Iterable[str]) -> str:
    """Names with counts: "encoder_k 161, queue 1"."""
    counts = Counter(names).items()
    return ", ".join(f"{shown(name)} {count}" for name, count in counts) or "nothing"
