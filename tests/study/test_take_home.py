"""The last lines of a study with a budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.study_folders import study
from ssl_zoo.multirun import spread_of
from ssl_zoo.study.results import Suite
from ssl_zoo.study.statistics import compare
from ssl_zoo.study.take_home import below_floor, take_home, verdict, write_report


def suite(floor: float = 0.1, error: float = 0.03, **scores: list[float]) -> Suite:
    by_seed = {name: dict(enumerate(values, 101)) for name, values in scores.items()}
    return Suite(
        name="knn",
        metric="test_top1",
        lowest=False,
        is_share=True,
        scores=by_seed,
        sampling=dict.fromkeys(by_seed, error),
        images=1000,
        floors={"random init": spread_of([floor, floor])},
        ceiling=None,
        oracle={},
        comparison=compare(by_seed, resolution=1 / 1000),
    )


def test_two_seeds_tell_little() -> None:
    said = verdict(suite(simclr=[0.62, 0.60], moco=[0.578, 0.60]))
    assert said.startswith("simclr is ahead of moco by 2.1 points, but 2 seeds cannot tell them")


def test_several_methods_may_not_be_told_apart() -> None:
    said = verdict(suite(a=[0.62, 0.60, 0.61], b=[0.60, 0.61, 0.60], c=[0.59, 0.62, 0.59]))
    assert said.startswith("a is ahead of b by 0.7 points, but 3 seeds cannot tell a from b, c (")


def test_a_clear_winner_is_called_one() -> None:
    said = verdict(suite(a=[0.82, 0.80, 0.81], b=[0.60, 0.59, 0.60], c=[0.5, 0.49, 0.49]))
    assert said.startswith("a is ahead of b by 21.3 points on 3 seeds (95% interval +")
    assert said.endswith("and of all others: that can be relied on")


def test_a_small_test_set_makes_a_clear_lead_unsure() -> None:
    said = verdict(suite(error=0.3, a=[0.82, 0.80, 0.81], b=[0.60, 0.59, 0.60]))
    assert "seeds tell them apart, but a score on 1000 images has an error of ±30.0 points" in said
    assert "relied on" not in said
    assert "all others" not in said


def test_equal_scores_and_one_method() -> None:
    same = verdict(suite(a=[0.6, 0.6], b=[0.6, 0.6]))
    assert same.startswith("a and b have the same score, but 2 seeds cannot tell them apart")
    assert verdict(suite(a=[0.6, 0.6])) == "a is the only method with a score (knn 60.0%)"


def test_a_winner_that_has_learned_nothing_is_said() -> None:
    scores = {"simclr": [0.62, 0.60], "moco": [0.578, 0.60]}
    said = below_floor(suite(floor=0.7, **scores))
    assert "no method beats what has learned nothing (random init 70.0%; simclr 61.0%)" in said
    assert below_floor(suite(floor=0.3, **scores)) == ""


def test_the_first_seed_is_taken_home_and_not_the_luckiest(tmp_path: Path) -> None:
    lines = take_home(study(tmp_path / "s", methods={"simclr": 0.65, "moco": 0.6}).folder)
    assert lines[-1].startswith("take it home: ssl-zoo export ")
    assert "finals/simclr/seed101 --format safetensors simclr.safetensors" in lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["30min", None])
def test_the_command_that_exports_is_printed_once(
    budget: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study(tmp_path / "s", settings={"budget": budget}).folder
    write_report(folder, budget)
    lines = capsys.readouterr().out.splitlines()
    assert sum("ssl-zoo export" in line for line in lines) == 1
    assert lines[-1].startswith("take it home: ") == (budget is not None)
