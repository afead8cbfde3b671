"""Loading backbones: from our runs, from other libraries and repositories, from exported files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_zoo.checkpoints import unpickle
from ssl_zoo.checkpoints.exported import load_exported, read_safetensors, sidecar
from ssl_zoo.checkpoints.library import PREFIXES, load_library
from ssl_zoo.checkpoints.official import load_official
from ssl_zoo.checkpoints.weights import (
    Pretrained,
    build_backbone,
    fill,
    grouped,
)
from ssl_zoo.console import info
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.types import UserError

__all__ = [
    "Embedder",
    "Pretrained",
    "build_backbone",
    "find_checkpoint",
    "load_backbone",
    "load_pretrained",
    "own_extras",
    "read_checkpoint",
    "source_files",
]

Output = Literal["representation", "embedding"]
_BACKBONE, _PROJECTOR = "encoder.backbone.", "encoder.projector."


def find_checkpoint(run_or_file: str | Path) -> Path:
    """The file itself, or a run folder's last.ckpt (or else its best.ckpt).

    Raises:
        UserError: If there is none.
    """
    if not str(run_or_file):
        raise UserError("the checkpoint has no name: give a run folder or a checkpoint file")
    path = Path(run_or_file).expanduser()
    if path.is_file():
        return path
    for name in ("last.ckpt", "best.ckpt"):
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    if str(run_or_file) == "random":
        raise UserError("random is for evaluate.py's ckpt= alone: give a run folder or a file")
    if not path.exists():
        raise UserError(f"{path} does not exist: give a run folder or a checkpoint file")
    raise UserError(f"{path} holds no checkpoints/last.ckpt: is it a run folder?")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one of our checkpoints, read as data alone.

    Raises:
        UserError: If the file does not load with `weights_only=True` or is not ours.
    """
    try:
        if unpickle.is_zip(path):
            unpickle.check_sums(path)
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each kind of broken file
        raise UserError(
            f"{path} is not a readable checkpoint: it is damaged or no plain data"
        ) from error
    if not _is_ours(checkpoint):
        raise UserError(f"{path} was not saved by ssl_zoo: it holds no config")
    return checkpoint


def _is_ours(content: Any) -> bool:
    extras = content.get("ssl_zoo") if isinstance(content, dict) else None
    return isinstance(extras, dict) and "config" in extras


def _is_library(source: str | Path) -> bool:
    return str(source).startswith(PREFIXES)


def _read(path: Path) -> Any:
    """The content of a file that export did not write."""
    return read_safetensors(path)[0] if path.suffix == ".safetensors" else unpickle.read(path)


def source_files(source: str | Path) -> list[Path]:
    """The files that a source consists of; none for those of a library.

    Raises:
        UserError: If there is none.
    """
    if _is_library(source):
        return []
    path = find_checkpoint(source)
    if Path(source).expanduser().is_dir():
        return sorted(path.parent.glob("*.ckpt"))
    return [file for file in (path, sidecar(path)) if file.exists()]


def own_extras(source: str | Path) -> dict[str, Any] | None:
    """What a run of ours saved beside its weights: config and preprocess; None for other sources.

    Raises:
        UserError: If the source does not exist or is damaged.
    """
    if _is_library(source):
        return None
    path = find_checkpoint(source)
    if load_exported(path) is not None:
        return None
    content = _read(path)
    return dict(content["ssl_zoo"]) if _is_ours(content) else None


def load_backbone(source: str | Path) -> tuple[nn.Module, Preprocess]:
    """The pretrained backbone and what prepares images for it.

    Args:
        source: A run folder (its last checkpoint), a checkpoint file of ours or of another
            repository (docs/checkpoints.md), an exported file, `torchvision:NAME[:WEIGHTS]` or
            `timm:NAME`.

    Returns:
        backbone: (N, 3, S, S) -> (N, num_features), in eval mode; `backbone.num_features`.
        preprocess: uint8 (N, 3, H, W) -> what the backbone expects.

    Raises:
        UserError: If there is no checkpoint, or it is none that is known.
    """
    loaded = load_pretrained(source)
    return loaded.backbone, loaded.preprocess


def load_pretrained(source: str | Path, output: Output = "representation") -> Pretrained:
    """The same with its architecture and a report, which is also printed.

    Args:
        source: As in `load_backbone`.
        output: What the module returns: h of the backbone, or z of the projector (N, embed_dim),
            which our own runs alone have.

    Raises:
        UserError: As in `load_backbone`; or if the source has no such output.
    """
    loaded = _load(source, output)
    info(loaded.report)
    return loaded


def _load(source: str | Path, output: Output) -> Pretrained:
    if _is_library(source):
        _check_output(output, source)
        return load_library(str(source))
    path = find_checkpoint(source)
    exported = load_exported(path)
    if exported is not None:
        _check_output(output, source)
        return exported
    content = _read(path)
    if _is_ours(content):
        return _load_own(content, path, output)
    _check_output(output, source)
    return load_official(content, path)


def _check_output(output: Output, source: str | Path) -> None:
    if output != "representation":
        raise UserError(f"{source} has no {output}: only runs of ssl_zoo keep their projector")


def _load_own(checkpoint: dict[str, Any], path: Path, output: Output) -> Pretrained:
    extras = checkpoint["ssl_zoo"]
    config = extras["config"]["backbone"]
    prefix = _BACKBONE
    if output == "embedding":
        projector = extras["config"]["method"]["module"]["projector"]
        config = {
            "_target_": "ssl_zoo.checkpoints.Embedder",
            "backbone": config,
            "projector": projector,
        }
        prefix = "encoder."
    backbone = build_backbone(config)
    state = checkpoint["state_dict"]
    weights = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    fill(backbone, weights, str(path))
    left = [".".join(n.split(".")[:2]) for n in state if not n.startswith(prefix)]
    preprocess = Preprocess(**extras["preprocess"])
    report = (
        f"{path} (ssl_zoo): {len(weights)} weights loaded, none missing; left over: "
        f"{grouped(left)}; images: {preprocess.image_size} pixels"
    )
    return Pretrained(backbone.eval(), preprocess, config, report)


class Embedder(nn.Module):
    """Backbone and projector as one module: (N, 3, S, S) -> z, (N, num_features), unnormalised.

    Args:
        backbone: Has `num_features`.
        projector: Factory, called with `in_dim`; what it makes has `out_dim`.
    """

    def __init__(self, backbone: nn.Module, projector: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector(in_dim=backbone.num_features)
        self.num_features = self.projector.out_dim

    def forward(self, images: Tensor) -> Tensor:
        z: Tensor = self.projector(self.backbone(images))
        return z
