"""Loading what a run saved: its config, its backbone, and how images reach it."""

from __future__ import annotations

import pydoc
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from ssl_zoo.config import instantiate
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.types import UserError

# Names in a checkpoint are called only from these packages.
ALLOWED_PACKAGES = ("ssl_zoo", "torch.optim", "torch.nn")


def find_checkpoint(run_or_file: str | Path) -> Path:
    """The file itself, or a run folder's last.ckpt (or else its best.ckpt).

    Raises:
        UserError: If there is none.
    """
    path = Path(run_or_file).expanduser()
    if path.is_file():
        return path
    for name in ("last.ckpt", "best.ckpt"):
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    if not path.exists():
        raise UserError(f"{path} does not exist: give a run folder or a checkpoint file")
    raise UserError(f"{path} holds no checkpoints/last.ckpt: is it a run folder?")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one of our checkpoints, read as data alone.

    Raises:
        UserError: If the file does not load with `weights_only=True` or is not ours.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each kind of broken file
        raise UserError(
            f"{path} is not a readable checkpoint: it is damaged or no plain data"
        ) from error
    extras = checkpoint.get("ssl_zoo") if isinstance(checkpoint, dict) else None
    if not isinstance(extras, dict) or "config" not in extras:
        raise UserError(f"{path} was not saved by ssl_zoo: it holds no config")
    return checkpoint


def _allowed(target: str) -> bool:
    """Whether a name lies in the allowed packages, and what it names was defined there."""
    packages = tuple(f"{package}." for package in ALLOWED_PACKAGES)
    if not target.startswith(packages):
        return False
    # ssl_zoo.errors.os.system begins well too
    defined_in = getattr(pydoc.locate(target), "__module__", None)
    return f"{defined_in}.".startswith(packages)


def check_targets(node: Any) -> None:
    """Refuse a config that names anything outside the allowed packages.

    Raises:
        UserError: Naming the target.
    """
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None and not _allowed(str(target)):
            raise UserError(f"the checkpoint's config names {target}, which ssl_zoo does not call")
        for value in node.values():
            check_targets(value)
    elif isinstance(node, list):
        for value in node:
            check_targets(value)


def build_backbone(config: dict[str, Any]) -> nn.Module:
    """The backbone that a plain config describes, randomly initialised; nothing is downloaded."""
    check_targets(config)
    untrained = {"weights": None, "pretrained": False}  # torchvision's knob and timm's
    config = config | {key: value for key, value in untrained.items() if key in config}
    backbone: nn.Module = instantiate(OmegaConf.create(config))
    return backbone


def load_backbone(run_or_file: str | Path) -> tuple[nn.Module, Preprocess]:
    """The pretrained backbone and what prepares images for it.

    Args:
        run_or_file: A run folder (its last checkpoint) or a checkpoint file.

    Returns:
        backbone: (N, 3, S, S) -> (N, num_features), in eval mode; `backbone.num_features`.
        preprocess: uint8 (N, 3, H, W) -> what the backbone expects.

    Raises:
        UserError: If there is no checkpoint, or it is not one of ours.
    """
    checkpoint = read_checkpoint(find_checkpoint(run_or_file))
    extras = checkpoint["ssl_zoo"]
    backbone = build_backbone(extras["config"]["backbone"])
    prefix = "encoder.backbone."
    weights = {
        name[len(prefix) :]: value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    backbone.load_state_dict(weights)
    return backbone.eval(), Preprocess(**extras["preprocess"])
