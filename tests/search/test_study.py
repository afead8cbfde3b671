"""The samplers: those of Optuna, whose draws do not depend on how often a process was started."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from ssl_zoo.search.study import NumberedSampler, opened, pruner_of
from ssl_zoo.types import UserError

SPACE: dict[str, BaseDistribution] = {
    "a": FloatDistribution(0.02, 1.0),
    "b": FloatDistribution(1e-4, 0.1, log=True),
    "c": IntDistribution(1, 9),
}
QMC = {"_target_": "optuna.samplers.QMCSampler", "seed": 3, "qmc_type": "sobol", "scramble": False}
RANDOM = {"_target_": "optuna.samplers.RandomSampler", "seed": 3}


def asked(
    path: Path, sampler: optuna.samplers.BaseSampler, number: int
) -> list[dict[str, float | int]]:
    study = optuna.create_study(
        storage=opened(str(path)), study_name="s", sampler=sampler, load_if_exists=True
    )
    for _ in range(number):
        trial = study.ask(SPACE)
        study.tell(trial, trial.params["a"])
    return [trial.params for trial in study.trials]


@pytest.mark.filterwarnings("ignore:QMCSampler is experimental")
@pytest.mark.parametrize("scramble", [False, True])
def test_the_quasi_random_points_are_optunas(scramble: bool, tmp_path: Path) -> None:
    node = {**QMC, "scramble": scramble}
    asked(tmp_path / "ours", NumberedSampler(node, None), 3)
    ours = asked(tmp_path / "ours", NumberedSampler(node, None), 5)  # it goes on
    theirs = optuna.samplers.QMCSampler(seed=3, qmc_type="sobol", scramble=scramble)
    assert ours == asked(tmp_path / "theirs", theirs, 8)


def test_a_start_again_repeats_no_point(tmp_path: Path) -> None:
    whole = asked(tmp_path / "whole", NumberedSampler(RANDOM, None), 4)
    asked(tmp_path / "twice", NumberedSampler(RANDOM, None), 2)
    assert asked(tmp_path / "twice", NumberedSampler(RANDOM, None), 2) == whole
    assert len({point["a"] for point in whole}) == 4
    other = asked(tmp_path / "other", NumberedSampler({**RANDOM, "seed": 4}, None), 1)
    assert other[0] != whole[0]


@pytest.mark.slow
def test_what_optuna_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hydra.sweeper.sampler: .*halton"):
        NumberedSampler({**QMC, "qmc_type": "lattice"}, None)
    with pytest.raises(UserError, match=r"hydra.sweeper.pruner: .*max_resource"):
        pruner_of({"_target_": "optuna.pruners.HyperbandPruner", "max_resource": "most"})
    with pytest.raises(UserError, match=r"^hydra.sweeper.pruner.interval_steps=a: give a whole"):
        pruner_of({"_target_": "optuna.pruners.MedianPruner", "interval_steps": "a"})
    with pytest.raises(UserError, match=r"hydra.sweeper.storage=nosql://x cannot be opened"):
        opened("nosql://x")
