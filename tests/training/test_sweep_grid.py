"""A multirun in a folder that holds runs: whether it is of the same experiment, and how far."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ssl_zoo.config import CONFIG_DIR, settings
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.sweep_grid import check_same, progress
from ssl_zoo.types import UserError


@pytest.fixture(scope="module")
def base() -> DictConfig:
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose("train", return_hydra_config=True)


def leave(folder: Path, number: int, status: str, *overrides: str) -> None:
    run = RunFolder(folder / str(number))
    run.path.mkdir(parents=True)
    run.write_result({"status": status, "overrides": list(overrides), "metrics": {}})


def check(folder: Path, base: DictConfig, *given: str) -> None:
    config = base.copy()
    config.hydra.overrides.task = list(given)
    check_same(folder, config)


FIRST = ["method=simclr", "seed=0", "epochs=3", "batch_size=64", "sweep=x"]


@pytest.mark.parametrize(
    "given",
    [
        ["method=simclr,moco", "seed=0,1", "epochs=3", "batch_size=64"],
        ["method=moco", "seed=0", "epochs=9", "batch_size=64", "dataset.root=/x"],
        ["seed=0", "batch_size=64,32", "method=simclr"],
        ["batch_size=6.4e1", "+optimizer.weight_decay=1,2", "logger=wandb", "name=z"],
    ],
)
def test_what_is_swept_or_may_change_is_no_other_experiment(
    tmp_path: Path, base: DictConfig, given: list[str]
) -> None:
    leave(tmp_path, 0, "finished", *FIRST)
    leave(tmp_path, 1, "failed", "method=moco", *FIRST[1:])
    check(tmp_path, base, *given)


@pytest.mark.parametrize(
    ("given", "difference"),
    [
        (["seed=0,1", "batch_size=32"], r"batch_size=32 \(was 64\)"),
        (["seed=0,1"], r"batch_size=128 \(was 64\)"),
        (["seed=0", "batch_size=64", "optimizer=sgd"], r"optimizer=sgd \(was its default\)"),
        (["seed=3", "batch_size=64"], r"seed=3 \(was 0\)"),
        (["seed=0", "batch_size=64", "~clip_norm"], r"~clip_norm=null \(was its default\)"),
    ],
)
def test_another_experiment_is_refused_with_what_differs(
    tmp_path: Path, base: DictConfig, given: list[str], difference: str
) -> None:
    leave(tmp_path, 0, "finished", *FIRST)
    leave(tmp_path, 1, "interrupted", "method=moco", *FIRST[1:])
    with pytest.raises(UserError, match=f"holds runs of another config: {difference}: give"):
        check(tmp_path, base, *given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("was", "given", "change", "shown"),
    [
        ("null", ["objective=val/map_at_r"], "objective=val/map_at_r (was null)", "val/map_at_r"),
        ("val/my loss", [], "objective=null (was val/my loss)", "val/knn_top1"),
        ("val/a", ["objective=val/my loss"], "objective=val/my loss (was val/a)", "'val/my loss'"),
    ],
)
def test_runs_are_shown_by_another_objective_and_not_chosen_again(
    tmp_path: Path, base: DictConfig, was: str, given: list[str], change: str, shown: str
) -> None:
    leave(tmp_path, 0, "finished", *FIRST, *([] if was == "null" else [f"objective={was}"]))
    run = RunFolder(tmp_path / "0")
    metrics = {"val/knn_top1": 0.5, "val/map_at_r": 0.5, "val/my loss": 1.0}
    run.write_result(run.read_result() | {"metrics": metrics})
    run.config.write_text(f"run_dir: {run}\nobjective: {was}\n")
    with pytest.raises(UserError) as refused:
        check(tmp_path, base, *FIRST, *given)
    assert str(refused.value).startswith(f"{tmp_path}: {change}: the best.ckpt of its runs was")
    table = f"python -m ssl_zoo.table {tmp_path} --metric {shown} --sort {shown}"
    assert str(refused.value).endswith(f"shows them by the other one: {table}")
    with pytest.raises(UserError, match=r"none of them has logged the other one$"):
        check(tmp_path, base, *FIRST, "objective=val/nothing")
    with pytest.raises(UserError, match=r"of another config: batch_size=32.*objective=val/nothing"):
        check(tmp_path, base, *FIRST, "batch_size=32", "objective=val/nothing")


def test_runs_that_failed_before_they_saved_anything_bind_nobody(
    tmp_path: Path, base: DictConfig
) -> None:
    leave(tmp_path, 0, "failed", *FIRST)
    check(tmp_path, base, "seed=0", "batch_size=32")
    for status in ("interrupted", "out_of_memory"):
        leave(tmp_path / status, 0, status, *FIRST)
        with pytest.raises(UserError, match=r"batch_size=32 \(was 64\)"):
            check(tmp_path / status, base, "seed=0", "batch_size=32")
    (tmp_path / "0" / "checkpoints").mkdir()
    RunFolder(tmp_path / "0").last.touch()
    with pytest.raises(UserError, match=r"batch_size=32 \(was 64\)"):
        check(tmp_path, base, "seed=0", "batch_size=32")


def test_how_far_a_sweep_is(tmp_path: Path) -> None:
    jobs = [settings([f"seed={seed}", "epochs=3", "sweep=y"]) for seed in range(6)]
    assert progress(tmp_path, jobs) == "0 of 6 jobs done, 6 not started"
    statuses = ["finished", "nan", "interrupted", "out_of_memory"]
    for seed, status in enumerate(statuses):
        leave(tmp_path, seed, status, f"seed={seed}", "epochs=1", "sweep=x")
    leave(tmp_path, 9, "finished", "seed=77", "sweep=x")  # of an earlier grid
    assert progress(tmp_path, jobs) == (
        "2 of 6 jobs done, 1 interrupted, 1 out of memory, 2 not started"
    )
    assert progress(tmp_path, None) == "3 jobs done, 1 interrupted, 1 out of memory"
