"""What several runs of one machine share: its GPUs and cores, and a signal that stops them.

Imports no torch.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from shutil import which
from types import FrameType
from typing import Any

from omegaconf import DictConfig, read_write

from ssl_zoo.stopping import STOPPING, Asked

_SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Machine:
    """What the jobs that run at once share.

    Args:
        cores: That may be used.
        gpus: As CUDA_VISIBLE_DEVICES names them.
        at_once: Jobs.
    """

    def __init__(self, cores: int, gpus: Sequence[str], at_once: int) -> None:
        self.cores, self.at_once = cores, at_once
        self._known = list(gpus)
        shared = max(1, -(-at_once // max(1, len(gpus))))  # jobs on each GPU
        self._free = list(gpus) * shared
        self._changed = threading.Condition()

    @contextmanager
    def part(self, config: Mapping[Any, Any]) -> Iterator[dict[str, str]]:
        """The environment of a job: its threads, and GPUs that it gives back in the end."""
        devices = config.get("devices", 1)
        devices = devices if isinstance(devices, int) and devices > 0 else max(1, len(self._known))
        wanted = min(devices, len(self._known))
        processes = 1 if self._known else devices
        threads = max(1, self.cores // (self.at_once * processes))
        env: dict[str, str] = {}
        if not any(name in os.environ for name in _SET_BY_USER):
            env = dict.fromkeys(_SET_BY_USER, str(threads))
        taken = self._take(wanted)
        if taken:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
        try:
            yield env
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()

    def _take(self, wanted: int) -> list[str]:
        """That many different GPUs, the least used ones first, once they are free."""
        with self._changed:
            while len(free := sorted(set(self._free), key=self._use)) < wanted:
                self._changed.wait()
            for gpu in free[:wanted]:
                self._free.remove(gpu)
            return free[:wanted]

    def _use(self, gpu: str) -> tuple[int, int]:
        return -self._free.count(gpu), self._known.index(gpu)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        named = [name.strip() for name in given.split(",")]
        return [] if "-1" in named else [name for name in named if name]
    if which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    found = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number, _ in enumerate(found)]


def give_gpus(config: DictConfig) -> str:
    """Let the jobs of submitit_local see GPUs, which it hides unless it is told their number.

    Args:
        config: Of the multirun, with its `hydra`; gets `hydra.launcher.gpus_per_node`.

    Returns:
        What to say about it; "" where there is nothing to give, or the user has said how many.
    """
    launcher = config.hydra.launcher
    is_local = str(launcher._target_).endswith(".LocalLauncher")
    if not is_local or launcher.gpus_per_node is not None or not (gpus := visible_gpus()):
        return ""
    given = min(config.devices, len(gpus)) if isinstance(config.devices, int) else len(gpus)
    with read_write(config):
        launcher.gpus_per_node = given
    which_ones = "GPU 0" if given == 1 else f"GPUs 0 to {given - 1}"
    return (
        f"hydra/launcher=submitit_local: each job is on {which_ones}, beside the others "
        f"(hydra.launcher.gpus_per_node={given}); hydra/launcher=joblib gives each its own"
    )


class Stop(Asked):
    """Whether a signal has stopped the jobs, and the processes that are told then."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[subprocess.Popen[bytes]] = []

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Tell a process too that the signal has come, which may be while it was started."""
        self.processes.append(process)
        if self.signum is not None:
            process.send_signal(signal.SIGTERM)

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        """The first one lets the runs save and stop; another Ctrl-C or SIGTERM kills them."""
        first = self.signum is None
        at_once = self.at_once(signum)
        for process in self.processes:
            if (first or at_once) and process.poll() is None:
                process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)


@contextmanager
def stopping() -> Iterator[Stop]:
    """What stops a run goes to the jobs, no other is started, and this process waits for them."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.signal(s, stop.on_signal) for s in STOPPING}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
