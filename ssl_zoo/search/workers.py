"""The processes that work on one search: who asks now, and who is still there. No torch."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ssl_zoo.lock import locked, writer_of

_PLACE = "optuna_workers"  # a folder for each process, which it locks
_TURN = ".optuna_turn"  # stays: to remove it would let two processes in


@contextmanager
def worker(folder: Path) -> Iterator[str]:
    """Be known to the others as one that works on the search in a folder.

    Yields:
        This process's name.
    """
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"  # numbers are used again
    mine = folder / _PLACE / name
    mine.mkdir(parents=True, exist_ok=True)
    try:
        with locked(mine):
            yield name
    finally:
        for path in (mine, mine.parent):
            with suppress(OSError):  # others' folders
                path.rmdir()


def is_working(folder: Path, name: str) -> bool:
    """Whether a worker is still there."""
    return writer_of(folder / _PLACE / name) is not None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process after another; who is killed holds up nobody."""
    with (folder / _TURN).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
