"""A program in a terminal of its own, as a person sees and stops it."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable

from helpers.paths import ROOT

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A process whose input, output and errors are one pseudo-terminal.

    Args:
        *args: Of Python.

    Attributes:
        text: What it has shown so far.
    """

    def __init__(self, *args: str) -> None:
        self.ours, theirs = os.openpty()
        env = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "120"}
        self.process = subprocess.Popen(
            [sys.executable, *args],
            cwd=ROOT,
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_own_terminal,
        )
        os.close(theirs)
        self.text = ""

    def read_until(self, seen: Callable[[str], bool], seconds: float = 240) -> None:
        """Read until what was shown fulfils a condition, or the process ends."""
        deadline = time.monotonic() + seconds
        while not seen(self.text):
            assert time.monotonic() < deadline, self.text
            if not select.select([self.ours], [], [], 1)[0]:
                continue
            try:
                self.text += os.read(self.ours, 65536).decode(errors="replace")
            except OSError:  # Linux's way to say that the other end is closed
                return

    def type(self, keys: str) -> None:
        """Press keys; "\\x03" is Ctrl-C, which the terminal sends to all its processes."""
        os.write(self.ours, keys.encode())

    def lines(self) -> list[str]:
        """The lines shown, without control sequences; one drawn again is there twice."""
        return [line.strip() for line in re.split(r"[\r\n]", _CONTROL.sub("", self.text))]


def _own_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
