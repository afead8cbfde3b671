"""A run stopped in mid-epoch by a real signal and resumed ends like one that was not stopped."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from helpers.configs import TINY, Make
from helpers.method_cases import cases
from helpers.runs import assert_equal, reached, start, state, train_with_signal
from helpers.tiers import every, only
from ssl_zoo.train import train
from ssl_zoo.types import UserError

ARGS = [
    *TINY,
    "dataset.splits.num_train=2000",
    "epochs=3",
    "batch_size=32",
    "monitor.every_n_epochs=2",
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    whole = start(*ARGS, f"hydra.run.dir={folder}")
    assert whole.wait() == 0, whole.communicate()[0]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_mid_epoch_and_resumed(signum: int, tmp_path: Path, uninterrupted: Path) -> None:
    folder = tmp_path / "stopped"
    run = start(*ARGS, f"hydra.run.dir={folder}")
    while not reached(folder, 60):  # in the second epoch of 56 steps
        assert run.poll() is None, run.communicate()[0]
    run.send_signal(signum)
    output = run.communicate()[0]
    assert run.returncode == 128 + signum, output
    assert f"resume={folder}" in output
    assert "Traceback" not in output
    steps = int(state(folder)["global_step"])  # type: ignore[call-overload]
    assert steps % 56 != 0, "stopped between epochs: the test shows nothing"

    again = start(f"resume={folder}")
    assert again.wait() == 0, again.communicate()[0]
    expected, resumed = state(uninterrupted), state(folder)
    assert resumed["global_step"] == expected["global_step"] == 168
    for part in ("state_dict", "callbacks", "optimizer_states", "lr_schedulers"):
        assert_equal(resumed[part], expected[part], part)


def rows(folder: Path) -> set[str]:
    """metrics.csv, but for clock times and for the collapse monitor, whose window begins anew."""
    lines = (folder / "metrics.csv").read_text().splitlines()
    return {line for line in lines if "speed/" not in line and "collapse/" not in line}


@pytest.mark.parametrize("step", only([5], [3, 4, 5, 8]))  # 4 steps an epoch
def test_a_stop_at_any_step_loses_nothing(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    expected = train(make_config("epochs=3", run="whole"))
    folder = tmp_path / "stopped"
    code = train_with_signal(make_config("epochs=3", run="stopped"), step, monkeypatch)
    assert code == 128 + signal.SIGTERM
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    assert train(make_config(f"resume={folder}")) == expected
    assert_equal(state(folder)["state_dict"], state(tmp_path / "whole")["state_dict"], "weights")
    assert rows(folder) == rows(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("case", every(6, cases("RESUMES")))
def test_what_a_method_needs_is_saved(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Queue, bank, Z, proxies, copies, momentum schedule, the counters that key random draws."""
    overrides = ["epochs=3", "callbacks=none", *cases("RESUMES")[case]]
    train(make_config(*overrides, run="whole"))
    code = train_with_signal(make_config(*overrides, run="stopped"), 5, monkeypatch)
    assert code == 128 + signal.SIGTERM  # in mid-epoch: 4 steps make one
    train(make_config(f"resume={tmp_path / 'stopped'}"))
    ours, theirs = state(tmp_path / "stopped"), state(tmp_path / "whole")
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_equal(ours[part], theirs[part], part)


@pytest.mark.slow
def test_a_stop_at_the_last_step_finishes(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = train_with_signal(make_config("epochs=2"), 8, monkeypatch)
    assert isinstance(metrics, dict)
    assert "val/knn_top1" in metrics
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_finished_run_is_left_alone(make_config: Make, tmp_path: Path) -> None:
    metrics = train(make_config())
    before = (tmp_path / "run" / "result.json").read_text()
    assert train(make_config(f"resume={tmp_path / 'run'}")) == metrics
    assert (tmp_path / "run" / "result.json").read_text() == before
    with pytest.raises(UserError, match=r"run holds a run: continue with resume="):
        train(make_config())


@pytest.mark.slow
def test_a_moved_run_goes_on_where_it_lies(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("epochs=2", "logger=tensorboard", run="old")
    train_with_signal(config, 2, monkeypatch)
    (tmp_path / "old").rename(tmp_path / "new")
    train(make_config(f"resume={tmp_path / 'new'}"))
    assert not (tmp_path / "old").exists()
    assert len(list((tmp_path / "new" / "tensorboard").glob("events.*"))) >= 2


@pytest.mark.slow
def test_a_resumed_job_enters_its_sweeps_summary(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "multirun.yaml").touch()
    train_with_signal(make_config("epochs=2", run="0"), 2, monkeypatch)
    train(make_config(f"resume={tmp_path / '0'}"))
    assert "0,finished," in (tmp_path / "summary.csv").read_text()
