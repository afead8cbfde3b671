"""How many threads a run computes with: its part of the cores, or one each for small work."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import TypeVar

import torch

from ssl_zoo.console import info
from ssl_zoo.lock import locked, writer_of
from ssl_zoo.types import UserError

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def shared_cores() -> Iterator[None]:
    """Give a run its part of this machine's cores, unless the user has set the number of threads.

    torch takes all cores, and threads of several runs that wait for each other are many times
    slower. A run that computes already keeps its threads. Each run is known to the others by a
    folder that it locks, below the one for temporary files.
    """
    before = torch.get_num_threads()
    with ExitStack() as until_end:
        with suppress(OSError, KeyError, UserError):  # nowhere to be known by others
            place = Path(gettempdir()) / f"ssl_zoo_runs_{getpass.getuser()}"
            mine = place / str(os.getpid())
            mine.mkdir(parents=True, exist_ok=True)
            until_end.callback(_remove, mine)
            until_end.enter_context(locked(mine))
            others = [path for path in place.iterdir() if path != mine and writer_of(path)]
            threads = max(1, before // (len(others) + 1))
            if threads < before and not any(name in os.environ for name in _SET_BY_USER):
                torch.set_num_threads(threads)
                until_end.callback(torch.set_num_threads, before)
                info(
                    f"{len(others) + 1} runs share this machine: this one computes with {threads} "
                    f"of {before} threads; OMP_NUM_THREADS=N sets them"
                )
        yield


def each_on_one_core(
    call: Callable[[_In], _Out], items: Sequence[_In], device: torch.device
) -> Iterator[_Out]:
    """`call` of each item, in their order; on the CPU several at once, each with one thread.

    For work on tensors too small to be shared by threads. `call` must not print.
    """
    before = torch.get_num_threads()
    workers = min(before, len(items))
    if device.type != "cpu" or workers < 2:
        yield from map(call, items)
        return
    try:
        torch.set_num_threads(1)
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(call, items)
    finally:
        torch.set_num_threads(before)


def _remove(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
