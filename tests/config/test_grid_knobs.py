"""Knobs that only the options which a multirun sweeps have."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.configs import TINY
from helpers.ranks import output_of
from helpers.tiers import every
from ssl_zoo.config import axes_of, settings
from ssl_zoo.config.grid_knobs import held_by_jobs
from ssl_zoo.types import UserError

VICREG = "ablation=vicreg_no_variance,vicreg_no_covariance"


@pytest.mark.parametrize(
    ("line", "held"),
    every(
        3,
        [
            (f"{VICREG} method.invariance=10", ["method.invariance=choice(10)"]),
            ("method=glob(vic*) method.invariance=10", ["method.invariance=choice(10)"]),
            (
                "experiment=glob(swav_q*) method.num_prototypes=9",
                ["method.num_prototypes=choice(9)"],
            ),
            ("method=lejepa,swav method.num_views=3", ["method.num_views=choice(3)"]),
            (
                "hydra/sweeper=optuna method=moco,nnclr method.queue_size=64",
                ["method.queue_size=choice(64)"],
            ),
            ("method=lejepa,swav optimizer.base_lr=0.1", []),  # whatever is swept
            ("method=lejepa,swav method.embed_dim=16,32", []),  # a sweep already
            ("method=vicreg method.invariance=10 seed=0,1", []),  # no option is swept
            ("method=lejepa,swav method.temprature=1", []),  # which Hydra refuses
            ("method=lejepa,nowhere method.num_views=3", []),  # likewise
        ],
    ),
)
def test_they_are_swept_over_one_value(line: str, held: list[str]) -> None:
    given = ["-m", *line.split()]
    now = held_by_jobs(given, "train")
    assert [arg for arg in now if arg not in given] == held
    assert len(now) == len(given)
    assert held_by_jobs(given[1:], "train") == given[1:]  # no multirun


@pytest.mark.parametrize(
    ("line", "culprits"),
    every(
        2,
        [
            ("method=swav,vicreg method.num_prototypes=10,20", "method=vicreg"),
            ("method=vicreg,swav dataset=shapes,digits method.num_prototypes=9", "method=vicreg"),
            (
                "method=swav method/assignment=sinkhorn,softmax method.assignment.iterations=1",
                "method/assignment=softmax",
            ),
        ],
    ),
)
def test_options_that_lack_one_are_named(line: str, culprits: str) -> None:
    with pytest.raises(UserError, match=rf"^method\.\S+ is not a key with {culprits}: run those"):
        held_by_jobs(["-m", *line.split()], "train")


def test_one_value_is_a_setting_and_no_axis() -> None:
    overrides = ["method=a,b", "method.invariance=choice(10)", "seed=0"]
    assert axes_of(overrides) == {"method"}
    assert settings(overrides) == {"method.invariance": 10, "seed": 0}


@pytest.mark.slow
def test_the_jobs_have_it(tmp_path: Path) -> None:
    small = [*TINY, "callbacks=none", "method.hidden_dim=16", "method.embed_dim=16"]
    output_of(
        "train.py", "-m", VICREG, "method.invariance=7", *small, f"hydra.sweep.dir={tmp_path}"
    )
    for job in ("0", "1"):
        assert "  invariance: 7\n" in (tmp_path / job / "config.yaml").read_text()
