"""The signals that stop a run, and what a process makes of a second one. Imports no torch.

Ctrl-C and SIGTERM are sent by people, and by SLURM at the end of a job's time; SIGUSR1 and SIGUSR2
by SLURM and submitit ahead of that, for the job to be queued again.
"""

from __future__ import annotations

import signal
import sys
import threading
from time import monotonic
from types import FrameType, TracebackType
from typing import NoReturn

SAME_SIGNAL_SECONDS = 1.0  # one signal may come twice: to all processes, and passed on by a parent


def _there(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


AHEAD = _there("SIGUSR1", "SIGUSR2")
STOPPING = (*_there("SIGINT", "SIGTERM"), *AHEAD)


class Stopped(SystemExit):
    """A signal has stopped what this process was about, which has said so.

    Args:
        signum: The signal.
        code: The exit code; None = 128 + the signal.
    """

    def __init__(self, signum: int, code: int | str | None = None) -> None:
        super().__init__(128 + signum if code is None else code)
        self.signum = signum

    def __reduce__(self) -> tuple[type[Stopped], tuple[int, int | str | None]]:
        return Stopped, (self.signum, self.code)

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.signum).name}"


class Asked:
    """What a process was asked by signals: to stop once it has saved, or at once.

    Attributes:
        signum: The first signal; None before it.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since: float | None = None  # the first Ctrl-C or SIGTERM

    def at_once(self, signum: int) -> bool:
        """Take a signal; whether it is another Ctrl-C or SIGTERM, which does not wait any more."""
        if self.signum is None:
            self.signum = signum
        if signum in AHEAD:
            return False
        if self._since is None:
            self._since = monotonic()
        return monotonic() - self._since > SAME_SIGNAL_SECONDS


def listen(signals: tuple[signal.Signals, ...] = AHEAD) -> None:
    """From here on the signals end this process with `Stopped`; a run saves first."""
    if threading.current_thread() is threading.main_thread():
        for signum in signals:
            signal.signal(signum, stop_here)


def end_quietly() -> None:
    """Let Ctrl-C end this program without a traceback, also while it imports."""
    show = sys.excepthook

    def unless_by_a_person(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            show(kind, error, trace)

    sys.excepthook = unless_by_a_person


def stop_here(signum: int, frame: FrameType | None) -> NoReturn:
    """The handler where nothing is to be saved.

    Raises:
        Stopped: Always.
    """
    raise Stopped(signum)
