"""A file that is whole or not there."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO
from uuid import uuid4

from ssl_zoo.types import UserError

_UNFINISHED = "[0-9a-f]" * 32 + ".tmp"  # what a file is called until it is whole


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], fix: str = "") -> None:
    """Write a file that either is complete or is not there, whoever else writes it or is killed.

    Args:
        path: Of the file; its folder is made.
        write: Writes the content to an open file.
        fix: What to do where it cannot be written, as in "set cache_dir elsewhere".

    Raises:
        UserError: The folder cannot be written, or its disk is full.
    """
    unfinished = path.with_name(f"{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        try:
            with unfinished.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        advice = f"; {fix}" if fix else ""
        raise UserError(f"cannot write {path}: {error.strerror or error}{advice}") from error


def write_text(path: Path, text: str, fix: str = "") -> None:
    """`write_atomically` of a text, in UTF-8; what UTF-8 does not have comes as an escape."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "backslashreplace")), fix)


def _remove_abandoned(folder: Path) -> None:
    """Delete what killed processes left behind; a day is longer than any pass takes."""
    for file in folder.glob(_UNFINISHED):
        with contextlib.suppress(OSError):  # another process may have been faster
            if time.time() - file.stat().st_mtime > 86400:
                file.unlink()
