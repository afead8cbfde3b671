"""W&B's runs of whole trainings and evaluations: stopped, resumed, failed, scored."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import wandb

from helpers.configs import TINY, Make
from helpers.programs import run_protocols
from helpers.ranks import output_of
from helpers.runs import reached, start, state, train_with_signal
from helpers.wandb_reader import OfflineRun, offline_runs
from ssl_zoo.metric_names import AXES, GLOBAL_STEP
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import resume, train
from ssl_zoo.types import UserError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wandb")]
SHORT = ["callbacks=none", "trainer.max_steps=1", "logger=wandb"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))


def written(folder: Path) -> list[OfflineRun]:
    wandb.teardown()  # waits until all is on disk
    return offline_runs(folder)


def assert_goes_on(folder: Path, parts: list[OfflineRun], code: int) -> None:
    """Two parts of one run, whose rows are those of metrics.csv."""
    first, second = parts
    assert first.id == second.id == RunFolder(folder).read_wandb()["id"]
    assert (first.exit_code, second.exit_code) == (code, 0)
    steps = [row["_step"] for part in parts for row in part.history]
    assert steps == sorted(set(steps)), "the second part's steps go on"
    curves = RunFolder(folder).read_metrics()
    for name in ("train/loss", "lr/all", "grad_norm"):
        rows = [row for part in parts for row in part.history if name in row]
        assert [(row[GLOBAL_STEP], row[name]) for row in rows] == curves[name]
    assert all(set(AXES) <= set(row) for part in parts for row in part.history)
    seconds = [row["speed/wall_seconds"] for part in parts for row in part.history]
    assert seconds == sorted(seconds)
    same = {key: value for key, value in first.config.items() if key != "_wandb"}
    assert {key: value for key, value in second.config.items() if key != "_wandb"} == same
    assert same["method"] == "simclr"


def test_a_run_that_is_stopped_goes_on_in_the_same_wandb_run(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    code = train_with_signal(make_config("epochs=3", "logger=wandb"), 6, monkeypatch)
    assert code == 128 + signal.SIGTERM
    resume(folder)
    assert_goes_on(folder, written(folder), 128 + signal.SIGTERM)


def test_ctrl_c_in_a_terminal_reaches_all_processes_and_loses_nothing(tmp_path: Path) -> None:
    overrides = [*TINY, "logger=wandb", "epochs=200", f"run_dir={tmp_path / 'run'}"]
    run = start(*overrides, new_session=True)
    while not reached(tmp_path / "run", 9):
        assert run.poll() is None, run.communicate()[0]
    os.killpg(run.pid, signal.SIGINT)  # W&B's service too
    output = run.communicate()[0]
    assert run.returncode == 130, output
    (stopped,) = written(tmp_path / "run")
    assert stopped.exit_code == 130
    done = int(state(tmp_path / "run")["global_step"])  # type: ignore[call-overload]
    assert stopped.history[-1][GLOBAL_STEP] == done - 1


def test_a_run_that_got_wandb_later_says_its_config_once(make_config: Make, tmp_path: Path) -> None:
    train(make_config("callbacks=none", "method=moco"))
    resume(tmp_path / "run", "epochs=2", "logger=wandb")
    (run,) = written(tmp_path / "run")
    assert run.history[0]["_step"] == 4
    assert (run.config["method"], run.config["epochs"]) == ("moco", 2)
    assert "epochs" in run.config


def test_a_stop_by_a_nan_is_an_alert_and_a_failed_run(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the loss is nan"):
        train(make_config("logger=wandb", "optimizer=sgd", "optimizer.lr=1e30", "epochs=2"))
    (run,) = written(tmp_path / "run")
    ((title, text),) = run.alerts
    assert title == "the run has stopped: its loss is not finite"
    assert text.startswith("the loss is nan at step")
    assert run.exit_code == 1
    assert run.summary["seconds"] > 0


def test_a_collapse_is_an_alert(make_config: Make, tmp_path: Path) -> None:
    low = ["callbacks.collapse_monitor.min_steps=1", "callbacks.collapse_monitor.min_std=2"]
    train(make_config("logger=wandb", *low))
    (run,) = written(tmp_path / "run")
    ((title, text),) = run.alerts
    assert title in text
    assert "directions of" in text


def test_a_run_that_never_saved_is_another_when_it_starts_again(
    make_config: Make, tmp_path: Path
) -> None:
    with pytest.raises(UserError):
        train(make_config(*SHORT, "dataset.val_fraction=2"))
    train(make_config(*SHORT))
    failed, finished = written(tmp_path / "run")
    assert failed.id != finished.id
    assert (failed.exit_code, finished.exit_code) == (1, 0)


def test_ema_momentum_and_gradient_norm(make_config: Make, tmp_path: Path) -> None:
    small = ["method.hidden_dim=32", "method.predictor_dim=32"]
    train(make_config("method=byol", *small, "epochs=2", "clip_norm=1e-3"))
    curves = RunFolder(tmp_path / "run").read_metrics()
    momentum = [value for _, value in curves["ema/momentum"]]
    assert momentum[0] == pytest.approx(0.99)
    assert momentum == sorted(momentum)
    assert momentum[-1] < 1
    assert all(value > 1e-3 for _, value in curves["grad_norm"]), "before clipping"
    assert len(curves["grad_norm"]) == len(curves["train/loss"])
    assert len(curves["speed/peak_memory_gb"]) == len(curves["train/loss"])


def test_an_evaluation_is_a_run_of_its_own_linked_with_what_it_scores(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make_config(*SHORT, "logger.wandb.group=sweep7"))
    monkeypatch.setenv("WANDB_RUN_ID", RunFolder(tmp_path / "run").read_wandb()["id"])
    results = run_protocols(
        f"ckpt={tmp_path / 'run'}", "protocol=[knn,retrieval]", "logger=wandb", "baselines=true"
    )
    (trained,) = written(tmp_path / "run")
    (run,) = offline_runs(tmp_path / "run" / "evaluation")
    assert run.id != trained.id
    assert (run.group, run.job_type, run.exit_code) == ("sweep7", "eval", 0)
    assert run.config["scores_run"] == trained.id
    assert (run.config["method"], run.config["dataset"]) == ("simclr", "shapes")
    assert run.summary["knn/test_top1"] == results["knn"]["rows"]["pretrained"]["test_top1"]
    assert GLOBAL_STEP not in run.summary
    (files,) = (tmp_path / "run" / "evaluation").glob("wandb/offline-run-*/files")
    table = json.loads((files / run.summary["evaluation/knn.path"]).read_text())
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["data"]}
    for name, row in results["knn"]["rows"].items():
        for key in ("protocol_id", "test_top1", "num_test_images"):
            assert rows[name][key] == row[key]
    classes = json.loads((files / run.summary["per_class/knn.path"]).read_text())
    assert classes["columns"][:3] == ["class", "images", "pretrained"]
    assert len(classes["data"]) == 10
    images = ("figures/knn_confusion", "figures/retrieval_gallery")
    assert all((files / run.summary[f"{name}.path"]).is_file() for name in images)


def test_an_evaluation_that_fails_is_marked(make_config: Make, tmp_path: Path) -> None:
    train(make_config("callbacks=none", "trainer.max_steps=1"))
    with pytest.raises(UserError):
        run_protocols(f"ckpt={tmp_path / 'run'}", "logger=wandb", "protocol.knn.k=0")
    runs = [run for run in written(tmp_path / "run" / "evaluation")]
    assert [(run.exit_code, run.group) for run in runs] == [(1, "run")]
    assert run_protocols(f"ckpt={tmp_path / 'run'}", "baselines=false")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["logger=tensorboard"], "^logger=tensorboard: evaluate.py writes JSON files, and W&B"),
        (["logger=wandb", "logger.wandb.into_scored_run=true"], "into_scored_run=true needs W&B"),
        (["logger=wandb", "logger.wandb.log_model=true"], "log_model=true is for train.py"),
    ],
)
def test_what_an_evaluation_does_not_log_to_is_one_line(
    make_config: Make, tmp_path: Path, overrides: list[str], line: str
) -> None:
    train(make_config("callbacks=none", "trainer.max_steps=1"))
    with pytest.raises(UserError, match=line):
        run_protocols(f"ckpt={tmp_path / 'run'}", *overrides)


def test_an_evaluation_of_a_sweep_is_one_run(make_config: Make, tmp_path: Path) -> None:
    sweep = [*TINY, *SHORT, "-m", "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    output_of("train.py", *sweep)
    output_of("evaluate.py", f"ckpt={tmp_path / 'sweep'}", "logger=wandb", "baselines=false")
    (run,) = offline_runs(tmp_path / "sweep" / "evaluation")
    trained = [offline_runs(tmp_path / "sweep" / job)[0] for job in "01"]
    assert run.config["scores_run"] == [one.id for one in trained]
    assert run.group == trained[0].group == "sweep"
    assert run.summary["evaluation/knn.nrows"] == 2
    (files,) = (tmp_path / "sweep" / "evaluation").glob("wandb/offline-run-*/files")
    table = json.loads((files / run.summary["settings/knn.path"]).read_text())
    (line,) = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    (kept,) = json.loads((tmp_path / "sweep" / "evaluation" / "knn.json").read_text())["settings"]
    top1 = kept["scores"]["test_top1"]
    assert (line["runs"], line["n"], line["test_top1"]) == ("0 1", 2, top1["mean"])
    assert line["test_top1_s"] == top1["s"] > 0
    assert [line["test_top1_low"], line["test_top1_high"]] == top1["interval"]
    assert {"per_class/0/knn.path", "per_class/1/knn.path"} <= set(run.summary)
