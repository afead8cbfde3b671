"""How a run's processes are counted, started and watched; whole runs are in test_processes.py."""

from __future__ import annotations

import logging
import pickle
import signal
from pathlib import Path

import pytest
import torch.distributed as dist
from omegaconf import OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from helpers.configs import Make
from helpers.ranks import runs
from ssl_zoo import loggers as run_loggers
from ssl_zoo.callbacks import Interrupted
from ssl_zoo.config import trusting
from ssl_zoo.distributed import is_main_process
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training import launcher
from ssl_zoo.training.build import build_loggers
from ssl_zoo.training.frozen import Job
from ssl_zoo.training.launcher import RankFailed, launch, processes_to_start, report_outcome
from ssl_zoo.types import UserError

SLURM = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "x"}
SLURM |= {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}


@pytest.fixture(autouse=True)
def _own_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Lightning takes from a test's environment is put back."""
    monkeypatch.setattr(rank_zero_only, "rank", rank_zero_only.rank)


# --- which processes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "strategy", "env", "processes"),
    [
        (2, "ddp", {}, 2),
        (2, "auto", {}, 2),
        ("3", "ddp", {}, 3),
        ("auto", "auto", {}, 0),
        (-1, "ddp", {}, 0),  # which Lightning refuses, later and by its name
        (2, "ddp_spawn", {}, 0),
        (2, "ddp", TORCHRUN, 0),
        (2, "ddp", SLURM, 0),
        (2, "ddp", {"LOCAL_RANK": "0"}, 0),
    ],
)
def test_which_processes_are_started(
    monkeypatch: pytest.MonkeyPatch,
    devices: int | str,
    strategy: str,
    env: dict[str, str],
    processes: int,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    trainer = {"_target_": "pytorch_lightning.Trainer", "_partial_": True, "accelerator": "cpu"}
    trainer |= {"devices": devices, "num_nodes": 1, "strategy": strategy, "plugins": None}
    assert processes_to_start(OmegaConf.create({"trainer": trainer})) == processes


@pytest.mark.parametrize("env", [TORCHRUN, SLURM, {"LOCAL_RANK": "1"}, {"NODE_RANK": "1"}])
def test_one_process_speaks_for_all(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_main_process()
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert not is_main_process()


def test_lightning_starts_no_process_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the launcher needs of Lightning and torch, which do not promise it."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)
    changed = "Lightning no longer leaves starting processes to whoever sets LOCAL_RANK: see launch"
    assert trainer.strategy.cluster_environment.creates_processes_externally, changed
    assert trainer.strategy.launcher is not None
    assert trainer.strategy.launcher.launch(lambda: "ran here") == "ran here"
    assert trainer.strategy.launcher.procs == [], changed


def test_ranks_meet_at_a_port_that_no_other_run_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, another = launcher._store(), launcher._store()
    assert ours.port != another.port
    for name, value in launcher._environment(0, 1, 1, ours).items():
        monkeypatch.setenv(name, value)
    store, rank, world_size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    store.set("from", "rank 0")
    assert (rank, world_size) == (0, 1)
    assert ours.get("from") == b"rank 0", "torch no longer uses the store of TORCHELASTIC_*"


# --- how they end -------------------------------------------------------------------------------


def ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *ends: str, closing: float = 0.0
) -> dict[str, float]:
    """What a launch of light ranks with these ends returns or raises; none of them runs then."""
    monkeypatch.setattr(launcher, "PROGRAM", "helpers.light_rank")
    monkeypatch.setattr(launcher, "_CLOSING_SECONDS", closing)
    config = {"num_nodes": 1, "ends": list(ends)}
    try:
        job = Job(config, str(folder), str(folder), False, False, [], {}, {}, [], logging.INFO)
        return launch(job, len(ends))
    finally:
        pids = [int(path.read_text()) for path in folder.glob("*.pid")]
        assert len(pids) == len(ends)
        assert not any(map(runs, pids))


def test_metrics_are_those_of_rank_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with trusting(["mine"]):
        metrics = ended(tmp_path, monkeypatch, "ends", "ends")
    assert metrics == {"rank": 0.0, "trusts": "mine"}


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        (
            ["hangs", "killed"],
            r"^rank 1 of the run was killed by SIGKILL \(often: out of memory\)$",
        ),
        (["killed", "follows"], r"^rank 0 of the run was killed by SIGKILL"),
        (["hangs", "leaves"], r"^rank 1 of the run ended with code 3$"),
    ],
)
def test_a_process_that_dies_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: list[str], message: str
) -> None:
    monkeypatch.setattr(launcher, "_REPORTING_SECONDS", 0.2)
    with pytest.raises(RankFailed, match=message):
        ended(tmp_path, monkeypatch, *ends)


def test_the_first_error_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^of rank 1$") as caught:
        ended(tmp_path, monkeypatch, "follows", "fails", closing=60)
    assert str(caught.value.__cause__) == "in rank 1:\nits traceback"


def test_a_signal_before_anything_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_REPORTING_SECONDS", 0.2)
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted, match=r"^stopped by SIGTERM$"):
        ended(tmp_path, monkeypatch, "hangs", "signals")
    assert handlers == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]


class Peculiar(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize("error", [UserError("x=1: no"), Interrupted(15, 7), OSError(28, "full")])
def test_errors_are_passed_on_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    report_outcome(tmp_path, error)
    passed, text = pickle.loads((tmp_path / "3.pkl").read_bytes())
    assert (type(passed), str(passed)) == (type(error), str(error))
    assert str(error) in text


def test_an_error_that_cannot_be_passed_on_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    report_outcome(tmp_path, Peculiar(1, 2))
    passed, _ = pickle.loads((tmp_path / "0.pkl").read_bytes())
    assert isinstance(passed, RankFailed)
    assert str(passed) == "Peculiar: 1 and 2"


def test_a_folder_of_no_job(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not the folder of a job"):
        Job.read(tmp_path)


# --- loggers ------------------------------------------------------------------------------------


class Careless(Logger):
    """Knows of no ranks: it writes wherever it is built."""

    def __init__(self, path: str) -> None:
        super().__init__()
        Path(path).write_text("here")

    name, version = "careless", 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...

    def log_hyperparams(self, *args: object, **kwargs: object) -> None: ...


@pytest.mark.parametrize("env", [TORCHRUN, SLURM])
def test_loggers_are_silent_on_other_ranks(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    own = f"+logger.own={{_target_: {__name__}.Careless, path: {tmp_path / 'careless'}}}"
    lightnings = "+logger.csv={_target_: pytorch_lightning.loggers.CSVLogger, save_dir: DIR}"
    several = ["logger=[wandb,tensorboard]", own, lightnings.replace("DIR", str(folder))]
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    loggers = build_loggers(make_config(*several), folder)
    with run_loggers.closed_at_end() as closed:
        closed += loggers
        run_loggers.start(closed, {"a": {"b": 1}})
    assert list(tmp_path.iterdir()) == []
    assert loggers, "callbacks such as LearningRateMonitor need one on every rank"
