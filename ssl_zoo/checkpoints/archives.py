"""What kind of file a checkpoint is, and whether it is whole, before anything of it is loaded."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from ssl_zoo.types import UserError

_ZIP_START = b"PK\x03\x04"
_PICKLE_START = b"\x80"
# What else comes under a checkpoint's name, by its first bytes, and what to do about it.
_OTHERS = {
    b"version https://git-lfs": "a git-lfs pointer (fetch the file with git lfs pull)",
    b"<": "a web page or XML (the download failed: repeat it)",
    b"{": "JSON (give the file that holds the weights)",
    b"\x1f\x8b": "compressed by gzip (unpack it)",
    b"BZh": "compressed by bzip2 (unpack it)",
    b"\xfd7zXZ": "compressed by xz (unpack it)",
    b"\x28\xb5\x2f\xfd": "compressed by zstd (unpack it)",
    b"\x89HDF": "an HDF5 file (save its weights as a state dict of torch)",
    b"\x93NUMPY": "one array of numpy (give a file with named weights)",
}


class NotReadableError(UserError):
    """Why a file cannot be read, without its path."""


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does."""
    return _start(path).startswith(_ZIP_START)


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON text, and the text."""
    start = _start(path)
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def check_kind(path: Path) -> None:
    """Refuse what is not a PyTorch file, before anything of it is loaded.

    Raises:
        NotReadableError: Saying what it is.
    """
    start = _start(path)
    if not start:
        raise NotReadableError("it is empty")
    if start.startswith(_ZIP_START):
        _check_zip(path)
    elif not start.startswith(_PICKLE_START):
        what = taken_for_a_checkpoint(path)
        neither = "neither a PyTorch file nor a pickle"
        raise NotReadableError(f"it is {f'{what}, ' if what else ''}{neither}")


def taken_for_a_checkpoint(path: Path) -> str:
    """What a file is and what to do, if it is of a kind that is taken for a checkpoint; else ""."""
    start = _start(path)
    if start[257:262] == b"ustar":
        return "a tar archive (unpack it and give the file in it)"
    return next((what for first, what in _OTHERS.items() if start.lstrip().startswith(first)), "")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise NotReadableError(
            "it is a TorchScript archive, whose code would run: save its weights, by "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )
    if any(name.endswith("/archive_format") for name in names):
        raise NotReadableError(
            "it is a program of torch.export: save its weights, by "
            "torch.save(torch.export.load(FILE).state_dict, OTHER)"
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise NotReadableError("it is a zip archive but not a PyTorch file")
    # torch stores without compression, so the two sizes agree
    if sum(entry.file_size for entry in entries) > 2 * path.stat().st_size:
        raise NotReadableError("it unpacks to more than it holds")
    check_sums(path)


def check_sums(path: Path) -> None:
    """Compare a zip archive with its checksums, which torch does not check.

    Raises:
        NotReadableError: If it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.serialization.set_crc32_options(False) writes zeros
            summed = any(entry.CRC for entry in archive.infolist())
            broken = archive.testzip() if summed else None
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError) as error:
        raise NotReadableError("it is damaged or cut short") from error
    if broken is not None:
        raise NotReadableError("it is damaged: checksum mismatch")
