"""What backbones and heads must be, so that one's own are refused in one line and not by torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ssl_zoo.types import UserError, first_line


def check_backbone(backbone: nn.Module, image_size: int) -> None:
    """Refuse a backbone that is not (N, 3, S, S) -> (N, num_features), with a gradient.

    It is tried on two black images, in evaluation mode, and left as it was.

    Args:
        backbone: Has `num_features`.
        image_size: S of the training views, in pixels.

    Raises:
        UserError: Naming what of this does not hold.
    """
    name = f"the backbone {type(backbone).__name__}"
    images = torch.zeros(2, 3, image_size, image_size)
    _check(name, backbone, images, "num_features", f"images of {image_size} pixels")


def check_head(head: nn.Module, in_dim: int, what: str) -> None:
    """Refuse a projector or predictor that is not (N, in_dim) -> (N, out_dim), with a gradient.

    Args:
        head: Has `out_dim`.
        in_dim: Width of its input.
        what: "projector" or "predictor".

    Raises:
        UserError: Naming what of this does not hold.
    """
    name = f"the {what} {type(head).__name__}"
    _check(name, head, torch.zeros(2, in_dim), "out_dim", f"rows of {in_dim} numbers")


def _check(name: str, module: nn.Module, x: Tensor, width: str, inputs: str) -> None:
    if not isinstance(module, nn.Module):
        raise UserError(f"{name} is not a torch.nn.Module")
    if any(isinstance(p, UninitializedParameter) for p in module.parameters()):
        raise UserError(f"{name} has lazy layers: give them their widths")
    expected = getattr(module, width, None)
    if not isinstance(expected, int) or isinstance(expected, bool) or expected < 1:
        raise UserError(f"{name} has {width}={expected}: set it to the width of the output, an int")
    first = next(module.parameters(), None)
    if first is not None:
        x = x.to(first.device, first.dtype)
    try:
        out = _tried(module, x)
    except UserError:
        raise
    except Exception as error:  # whatever its forward pass raises
        raise UserError(f"{name} does not take {inputs}: {first_line(error)}") from error
    if not isinstance(out, Tensor) or out.shape != (2, expected):
        made = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise UserError(
            f"{name} makes {made} of a batch of 2: it must return a tensor of shape (2, {width}), "
            f"which is (2, {expected})"
        )
    if not out.is_floating_point():
        raise UserError(f"{name} returns {out.dtype}: it must return floating-point numbers")
    if out.dtype != x.dtype:
        raise UserError(f"{name} makes {out.dtype} of {x.dtype}: it must keep the dtype")
    if first is not None and first.requires_grad and not out.requires_grad:
        raise UserError(f"{name} returns a tensor without a gradient: remove detach() or no_grad()")


def _tried(module: nn.Module, x: Tensor) -> Tensor:
    """Its output in evaluation mode; mode and random generators stay as they are."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            out: Tensor = module.eval()(x)
        return out
    finally:
        for part, training in modes:
            part.training = training
