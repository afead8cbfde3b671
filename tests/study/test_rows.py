"""What is selected from the rows of trials.csv."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_zoo.run_folder import RunFolder
from ssl_zoo.study.folder import HPO, RERUN, RunRow
from ssl_zoo.study.rows import Table, candidates, filled, ranking

TOP1, LOSS = "val/knn_top1", "val/loss"


def row(trial: int, score: float | None, stage: str = HPO, **more: object) -> RunRow:
    status = "nan" if score is None else "finished"
    return RunRow(stage, "m", trial, **{"seed": 0, "score": score, "status": status, **more})  # type: ignore[arg-type]


def test_a_trials_score_is_the_mean_of_its_folds_and_seeds() -> None:
    rows = [row(0, 0.4), row(1, 0.2), row(1, 0.8, fold=1), row(2, 0.5)]
    assert [(one.trial, one.score) for one in ranking(rows, "m", TOP1)] == [
        (1, 0.5),
        (2, 0.5),
        (0, 0.4),
    ]
    assert [one.trial for one in ranking(rows, "m", LOSS)] == [0, 1, 2]


def test_one_run_without_a_score_ends_a_trials_chances() -> None:
    rows = [row(0, 0.4), row(1, 0.9), row(1, None, fold=1), row(2, 0.1, status="collapsed")]
    assert [one.trial for one in ranking(rows, "m", TOP1)] == [0, 2]
    assert ranking([row(0, None)], "m", TOP1) == []


def test_those_that_were_run_again_are_selected_from() -> None:
    """A score of one seed that is above a mean of three is luck as likely as not."""
    rows = [row(0, 0.9), row(1, 0.85), row(2, 0.8)]
    rows += [row(i, score, RERUN, seed=1) for i, score in ((0, 0.5), (1, 0.6))]
    best = candidates(rows, "m", TOP1)
    assert [one.trial for one in best] == [1, 0]
    assert best[0].scores == [0.85, 0.6]
    assert [one.trial for one in candidates(rows[:3], "m", TOP1)] == [0, 1, 2]


@pytest.mark.slow
def test_where_all_that_were_run_again_failed_the_others_are_left() -> None:
    rows = [row(0, 0.9), row(1, 0.85), row(2, 0.8), row(3, 0.2)]
    rows += [row(i, None, RERUN, seed=1) for i in (0, 1)]
    assert [one.trial for one in candidates(rows, "m", TOP1)] == [2, 3]


def test_a_table_keeps_its_order_and_what_ended(tmp_path: Path) -> None:
    table = Table(tmp_path / "trials.csv")
    table.plan([RunRow(HPO, "m", i, 0) for i in range(3)])
    table.put(row(1, 0.1 + 0.2))
    again = Table(tmp_path / "trials.csv")
    again.plan([RunRow(HPO, "m", i, 0) for i in range(4)])
    assert [one.trial for one in again.rows] == [0, 1, 2, 3]
    assert again.rows[1].score == 0.1 + 0.2
    assert [one.trial for one in again.pending(HPO)] == [0, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(("value", "score"), [("nan", None), ("inf", None), ("0.25", 0.25)])
def test_a_metric_that_is_no_number_is_no_score(
    value: str, score: float | None, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.append_metrics(3, {LOSS: float(value)})
    facts = {"steps": 4}
    run.write_result({"status": "finished", "metrics": {LOSS: float(value)}, "facts": facts})
    assert filled(RunRow(HPO, "m", 0, 0, folder="run"), run, LOSS).score == score
