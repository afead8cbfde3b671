"""A run that is a trial of a search reports its validations, and ends when it is pruned."""

from __future__ import annotations

import csv
from pathlib import Path

import optuna
import pytest

from helpers.programs import run_train
from helpers.searches import read
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.search import TrialLink, was_pruned
from ssl_zoo.search.outcome import outcome_of
from ssl_zoo.search.study import opened

MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 1}
NONE = {"_target_": "optuna.pruners.NopPruner"}
EPOCHS = ("epochs=3", "dataset.splits.num_train=140", "~callbacks.linear_probe")


def trial_in(folder: Path, others: float, pruner: dict[str, object]) -> optuna.Study:
    """A run's folder as a search leaves it, beside two trials that were this good."""
    storage = str(folder.parent / "journal.log")
    study = optuna.create_study(storage=opened(storage), study_name="search", direction="maximize")
    for _ in range(2):
        trial = study.ask()
        for epoch in (1, 2, 3):
            trial.report(others, epoch)
        study.tell(trial, others)
    asked = study.ask()
    link = TrialLink(storage, "search", asked._trial_id, asked.number, None, pruner)
    link.write(folder)
    return study


def ending(folder: Path) -> int:
    """The last epoch of a run, from 0."""
    with (folder / "metrics.csv").open(newline="") as file:
        return max(int(row["epoch"]) for row in csv.DictReader(file))


def test_a_run_that_is_worse_than_others_is_pruned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    study = trial_in(folder, 0.99, MEDIAN)
    with caplog.at_level("INFO", "ssl_zoo"):
        run_train(folder, *EPOCHS)
    assert ending(folder) == 0
    assert read(folder)["status"] == "pruned"
    assert was_pruned(folder)
    value = read(folder)["metrics"]["val/knn_top1"]  # type: ignore[index]
    assert study.trials[2].intermediate_values == {1: pytest.approx(value)}
    assert outcome_of(RunFolder(folder), None).state == optuna.trial.TrialState.PRUNED
    assert "the search prunes it after epoch 1, val/knn_top1 was 0." in caplog.text
    assert "learning rate's schedule" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("others", "pruner"), [(0.0, MEDIAN), (0.99, NONE)])
def test_a_run_that_is_not_pruned_reports_all_its_epochs(
    others: float, pruner: dict[str, object], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    study = trial_in(folder, others, pruner)
    run_train(folder, *EPOCHS, "monitor.every_n_epochs=2")
    assert read(folder)["status"] == "finished"
    assert sorted(study.trials[2].intermediate_values) == [2, 3]  # the last one always
    value = read(folder)["metrics"]["val/knn_top1"]  # type: ignore[index]
    assert study.trials[2].intermediate_values[3] == pytest.approx(value)


@pytest.mark.slow
def test_the_last_validation_prunes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    trial_in(folder, 0.99, MEDIAN)
    run_train(folder, *EPOCHS, "epochs=1")
    assert read(folder)["status"] == "finished"


@pytest.mark.ddp
@pytest.mark.slow
def test_both_processes_of_a_pruned_run_end(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    trial_in(folder, 0.99, MEDIAN)
    run_train(folder, *EPOCHS, "strategy=ddp", "devices=2")
    assert ending(folder) == 0
    assert read(folder)["status"] == "pruned"
