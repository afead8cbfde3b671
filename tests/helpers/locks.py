"""Processes that hold the lock of a folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.paths import ROOT

_HOLD = """
import sys
from pathlib import Path
from ssl_zoo.lock import locked
from ssl_zoo.types import UserError
print("ready", flush=True)
sys.stdin.readline()
try:
    with locked(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except UserError as error:
    print(error, flush=True)
    sys.stdin.readline()
"""


def script(text: str, *args: object) -> subprocess.Popen[str]:
    """A process that runs this text."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", text, *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def candidates(folder: Path, number: int) -> list[subprocess.Popen[str]]:
    """Processes that take the lock when told to, tell, and release it when told again."""
    processes = [script(_HOLD, folder) for _ in range(number)]
    assert [heard(process) for process in processes] == ["ready"] * number
    return processes


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of a folder."""
    (process,) = candidates(folder, 1)
    say(process)
    assert heard(process) == "held"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
