"""The processes of a run on several devices: each starts from the frozen config, and is watched.

As torchrun does it: this process trains nothing, so it notices a rank that dies even while the
others wait for it in a collective. Lightning's own launcher repeats the command line instead.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import FrameType

import torch
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ssl_zoo.callbacks import SAME_SIGNAL_SECONDS, Interrupted
from ssl_zoo.config import (
    RUN_PACKAGES,
    instantiate,
    trust_for,
    typed,
)
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.build import REFUSALS
from ssl_zoo.training.child import start_child
from ssl_zoo.training.frozen import PROGRAM, Job
from ssl_zoo.types import UserError, first_line
from ssl_zoo.writing import write_atomically

_CLOSING_SECONDS = 15.0  # that rank 0 has to close its loggers, once another rank has failed
_REPORTING_SECONDS = 2.0  # that the others have then
_PROCESSES_OF_ITS_OWN = ("spawn", "fork", "notebook")  # strategies of Lightning


class RankFailed(UserError):
    """A process of the run ended without saying why, or with an error that cannot be passed on."""


class InRank(Exception):
    """The traceback of a rank, shown as the cause of the error that it raised."""


def processes_to_start(cfg: DictConfig) -> int:
    """How many processes the run needs on this machine.

    Returns:
        0 where it is this process, or where torchrun, SLURM or another has started them.
    """
    if cfg.trainer.devices == 1 and cfg.trainer.num_nodes == 1:
        return 0
    given = instantiate(cfg.trainer).keywords
    strategy = given["strategy"]
    if isinstance(strategy, str) and any(word in strategy for word in _PROCESSES_OF_ITS_OWN):
        return 0
    machine = {name: given[name] for name in ("accelerator", "devices", "num_nodes", "plugins")}
    try:
        trainer = Trainer(**machine, logger=False, enable_checkpointing=False)
    except REFUSALS:
        return 0  # build_trainer meets the same, and names the knob
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.world_size == 1 or environment is None or environment.creates_processes_externally:
        return 0
    return trainer.num_devices


def launch(job: Job, processes: int) -> dict[str, float]:
    """Run a job in that many processes of this machine, and return the last metrics of rank 0.

    Raises:
        Interrupted: If they stopped on a signal to this process.
        RankFailed: If one of them was killed.
        BaseException: What the first of them that failed raised.
    """
    with TemporaryDirectory(prefix=f"ssl_zoo_{Path(job.folder).name}_") as name:
        place = Path(name)
        job.write(place)
        num_nodes = int(job.config["num_nodes"])
        store = None if num_nodes > 1 else _store()  # lives as long as the ranks
        ranks: list[subprocess.Popen[bytes]] = []
        try:
            for local_rank in range(processes):
                ranks.append(
                    start_child(
                        PROGRAM, [str(place)], _environment(local_rank, processes, num_nodes, store)
                    )
                )
            with _passing_signals(ranks) as received:
                ended = _wait(ranks)
        finally:
            _kill(ranks)
        return _outcome(job, place, ended, received)


def _store() -> TCPStore:
    """Where the ranks meet: a port that the system chose, taken from here on, so never shared."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def _environment(
    local_rank: int, processes: int, num_nodes: int, store: TCPStore | None
) -> dict[str, str]:
    """What torchrun would set."""
    node = int(os.environ.get("NODE_RANK", 0))
    threads = max(1, torch.get_num_threads() // processes)  # torchrun's default is 1
    env = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        "RANK": str(node * processes + local_rank),
        "LOCAL_RANK": str(local_rank),
        "NODE_RANK": str(node),
        "WORLD_SIZE": str(num_nodes * processes),
    }
    if store is not None:
        env["MASTER_ADDR"], env["MASTER_PORT"] = "127.0.0.1", str(store.port)
        env["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # rank 0 need not open the port
    return env


@contextmanager
def _passing_signals(ranks: list[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Pass SIGINT and SIGTERM on to rank 0, which stops the others too; a second one kills all.

    Yields:
        The signals that came.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    first = 0.0

    def on_signal(signum: int, frame: FrameType | None) -> None:
        nonlocal first
        if not received:
            first = monotonic()
            ranks[0].send_signal(signum)
        elif monotonic() - first > SAME_SIGNAL_SECONDS:
            for rank in ranks:
                rank.kill()
        received.append(signum)

    before = {s: signal.signal(s, on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _wait(ranks: list[subprocess.Popen[bytes]]) -> dict[int, int]:
    """Until all have ended, or one has failed: the exit codes of those that ended by themselves."""
    while None in (codes := [rank.poll() for rank in ranks]) and not any(codes):
        sleep(0.1)
    for seconds, closing in ((_CLOSING_SECONDS, ranks[:1]), (_REPORTING_SECONDS, ranks)):
        until = monotonic() + seconds
        while any(rank.poll() is None for rank in closing) and monotonic() < until:
            sleep(0.1)
    return {i: rank.returncode for i, rank in enumerate(ranks) if rank.returncode is not None}


def _kill(ranks: list[subprocess.Popen[bytes]]) -> None:
    for rank in ranks:
        rank.kill()  # nothing happens to one that has ended
    for rank in ranks:
        rank.wait()
        if rank.stdin is not None:
            rank.stdin.close()


def report_outcome(place: Path, outcome: dict[str, float] | BaseException) -> None:
    """Leave a rank's metrics, or what it raised, for the launcher."""
    text = ""
    if isinstance(outcome, BaseException):
        text = "".join(traceback.format_exception(outcome))
    try:
        content = pickle.dumps((outcome, text))
        pickle.loads(content)  # an exception with arguments of its own may not come back
    except Exception:
        assert isinstance(outcome, BaseException)
        lost = RankFailed(f"{type(outcome).__name__}: {first_line(outcome)}")
        content = pickle.dumps((lost, text))
    write_atomically(_report(place, int(os.environ["LOCAL_RANK"])), lambda f: f.write(content))


def _report(place: Path, local_rank: int) -> Path:
    return place / f"{local_rank}.pkl"


def _outcome(job: Job, place: Path, ended: dict[int, int], received: list[int]) -> dict[str, float]:
    """The metrics of rank 0, or the error that ended the run."""
    reports = {rank: _report(place, rank) for rank in ended if _report(place, rank).is_file()}
    outcomes = {rank: pickle.loads(path.read_bytes()) for rank, path in reports.items()}
    for outcome, _ in outcomes.values():
        if isinstance(outcome, Interrupted):
            raise outcome
    failed = [rank for rank, code in ended.items() if code]
    if not failed and 0 in outcomes:
        return dict(outcomes[0][0])
    if received:
        raise Interrupted(received[0])
    # one that was killed reports nothing, and the others fail since it is gone
    first = min(failed, key=lambda r: reports[r].stat().st_mtime_ns if r in reports else 0)
    if first not in outcomes:
        raise RankFailed(_killed(job, first, ended[first]))
    error, text = outcomes[first]
    raise error from InRank(f"in rank {first}:\n{text}")


def _killed(job: Job, rank: int, code: int) -> str:
    """What to say of a rank that reported nothing."""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    why = " (often: out of memory)" if -code == signal.SIGKILL else ""
    goes_on = ""
    if RunFolder(job.folder).last.is_file():
        trust = trust_for(job.config, RUN_PACKAGES)
        goes_on = f"; continue with: python train.py {typed('resume', job.folder)}{trust}"
    return f"rank {rank} of the run {how}{why}{goes_on}"
