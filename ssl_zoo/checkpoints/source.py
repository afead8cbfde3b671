"""Where a backbone is loaded from: which file a name means, and its kind."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Literal

from ssl_zoo.checkpoints.archives import is_safetensors, is_zip
from ssl_zoo.multirun import is_sweep
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.types import UserError

LIBRARIES = ("torchvision:", "timm:")
_SUFFIXES = (".ckpt", ".pth", ".pt", ".bin", ".safetensors", ".onnx")  # of what to give instead
KEY = "ssl_zoo"  # the key of the metadata in our checkpoints and exports
Kind = Literal["library", "onnx", "safetensors", "torchscript", "checkpoint"]


def find_checkpoint(run_or_file: str | Path) -> Path:
    """The file itself, or a run folder's last.ckpt (or else its best.ckpt).

    Raises:
        UserError: If there is none.
    """
    if not isinstance(run_or_file, str | Path):
        kind = type(run_or_file).__name__
        raise UserError(f"a source of type {kind} is not read: give a run folder or a file by name")
    if not str(run_or_file):
        raise UserError("the checkpoint has no name: give a run folder or a checkpoint file")
    if "://" in str(run_or_file):
        raise UserError(f"{run_or_file} is an address: download it and give the file")
    path = Path(os.path.expanduser(run_or_file))  # Path's own fails where there is no such user
    if path.is_file():
        return path
    run = RunFolder(path)
    for file in (run.last, run.best):
        if file.is_file():
            return file
    if str(run_or_file) == "random":
        raise UserError("random is only for evaluate.py's ckpt=: give a run folder or a file")
    if not path.exists():
        raise UserError(
            f"{path} does not exist: give a run folder or a checkpoint file (or torchvision:NAME, "
            "timm:NAME)"
        )
    if is_sweep(path):
        raise UserError(f"{path} is a sweep's folder: give one of its runs, such as {path / '0'}")
    files = sorted([*path.glob("*"), *path.glob("checkpoints/*")])
    inside = [str(file.relative_to(path)) for file in files if file.suffix in _SUFFIXES]
    fix = f"give one of its files: {', '.join(inside[:3])}" if inside else "is it a run folder?"
    raise UserError(f"{path} holds no checkpoints/last.ckpt: {fix}")


def identify(source: str | Path) -> Kind:
    """The kind of a source, by its prefix, its first bytes and, if these do not tell, its suffix.

    A "checkpoint" is a PyTorch file or a pickle: its contents say whose it is.

    Raises:
        UserError: If there is no such file.
    """
    if str(source).startswith(LIBRARIES):
        return "library"
    path = find_checkpoint(source)
    if is_zip(path):
        return "torchscript" if _is_program_of_ours(path) else "checkpoint"
    if is_safetensors(path):
        return "safetensors"
    if path.suffix == ".onnx":
        return "onnx"
    return "safetensors" if path.suffix == ".safetensors" else "checkpoint"


def _is_program_of_ours(path: Path) -> bool:
    """Whether a zip archive holds the description that our TorchScript exports have."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(f"/extra/{KEY}.json") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # the error is reported where checkpoints are read


def sidecar(path: Path) -> Path:
    """Where the description of a plain state dict is."""
    return path.with_name(f"{path.name}.json")


def source_files(source: str | Path) -> list[Path]:
    """The files of a source; none if it is from a library.

    Raises:
        UserError: If there is none.
    """
    if identify(source) == "library":
        return []
    path = find_checkpoint(source)
    if Path(source).expanduser().is_dir():
        return sorted(path.parent.glob("*.ckpt"))
    return [file for file in (path, sidecar(path)) if file.exists()]
