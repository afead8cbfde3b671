"""A file that is whole or not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ssl_zoo.types import UserError


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file that either is complete or is not there, whoever else writes it or is killed.

    Raises:
        UserError: The folder cannot be written, or its disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write {path}: {reason}; set dataset.cache_dir elsewhere"
        ) from error


def _remove_abandoned(folder: Path) -> None:
    """Delete what killed processes left behind; a day is longer than any pass takes."""
    for file in folder.glob("*.tmp"):
        with contextlib.suppress(OSError):  # another process may have been faster
            if time.time() - file.stat().st_mtime > 86400:
                file.unlink()
