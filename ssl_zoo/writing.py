"""Atomic writes: a file is complete or does not exist; and reading what others have left."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from ssl_zoo.types import UserError, first_line

_UNFINISHED = "[0-9a-f]" * 32 + ".tmp"  # a file's name until it is complete


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], fix: str = "") -> None:
    """Write a file atomically: it is complete or absent, even with other writers or a kill.

    Args:
        path: The file; its folder is created.
        write: Writes the content to an open file.
        fix: What to do if it cannot be written, as in "set cache_dir to another folder".

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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds names with values; others may have edited it, or cut it short.

    Raises:
        UserError: If it does not.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        why = first_line(error)
    else:
        if isinstance(content, dict):
            return content
        why = f"it holds a {type(content).__name__}"
    raise UserError(f"{path} cannot be read: {why}; restore it, or delete it")


def write_text(path: Path, text: str, fix: str = "") -> None:
    """`write_atomically` of a text, in UTF-8; what UTF-8 cannot encode is escaped."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "backslashreplace")), fix)


def write_new(path: Path, text: str, fix: str = "") -> bool:
    """`write_text` of a file that must be new; False, and nothing written, if it is there."""
    unfinished = path.with_name(f"{uuid4().hex}.tmp")
    write_text(unfinished, text, fix)
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def _remove_abandoned(folder: Path) -> None:
    """Delete what killed processes left behind; a day is longer than any pass takes."""
    for file in folder.glob(_UNFINISHED):
        with contextlib.suppress(OSError):  # another process may have deleted it first
            if time.time() - file.stat().st_mtime > 86400:
                file.unlink()
