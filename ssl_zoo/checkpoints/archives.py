"""What kind of file a checkpoint is, and whether it is whole, before anything of it is loaded."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from ssl_zoo.types import UserError

_ZIP_START = b"PK\x03\x04"
_PICKLE_START = 0x80


class NotReadableError(UserError):
    """Why a file cannot be read, without its path."""


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does."""
    with path.open("rb") as file:
        return file.read(4) == _ZIP_START


def check_kind(path: Path) -> None:
    """Refuse what is not a PyTorch file, before anything of it is loaded.

    Raises:
        NotReadableError: Saying what it is.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise NotReadableError("it is empty")
    if start == _ZIP_START:
        _check_zip(path)
    elif start[0] != _PICKLE_START:
        raise NotReadableError("it is neither a PyTorch file nor a pickle")


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise NotReadableError("it is a TorchScript archive, whose code would run")
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
