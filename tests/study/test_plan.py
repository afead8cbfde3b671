"""What a plan freezes, holds equal and refuses; composed here, measured in the slow tier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.studies import TINY_STUDY, tiny
from helpers.tiers import every, only
from ssl_zoo.provenance import sha_of
from ssl_zoo.study.counts import hours_of, runs_of
from ssl_zoo.study.plan import Planned, frozen_of
from ssl_zoo.types import UserError

SIMSIAM = TINY_STUDY["methods"]["simsiam"]["overrides"]


@pytest.fixture(scope="module")
def planned() -> Planned:
    return frozen_of(tiny())


def test_a_configuration_is_the_same_wherever_and_on_whatever_seed_it_runs(
    planned: Planned,
) -> None:
    frozen = planned.frozen["simclr"]
    values = {"optimizer.base_lr": 0.5, "method.temperature": 0.1}
    one = frozen.run(Path("a/b"), values, 0, None, "one")
    other = frozen.run(Path("c"), values, 7, None, "other")
    assert one.config != other.config
    assert frozen.config_sha(one) == frozen.config_sha(other) != frozen.config_sha(frozen.job)
    third = frozen.run(Path("c"), values | {"method.temperature": 0.2}, 7, None, "other")
    assert frozen.config_sha(third) != frozen.config_sha(other)
    # the values reach what they feed
    assert one.config["method"]["loss"]["temperature"] == 0.1
    assert one.config["method"]["module"]["optimizer"]["optimizer"]["lr"] == 0.5 * 60 / 256
    assert one.config["data"]["seed"] == one.config["seed"] == 0
    assert one.config["run_dir"] == one.folder == str(Path("a/b").absolute())
    assert one.whole


def test_what_is_held_is_equal_whatever_is_tried(planned: Planned) -> None:
    shas = {
        sha_of(frozen.held(job, planned.settings.held, planned.except_for()))
        for method, frozen in planned.frozen.items()
        for rate in (0.01, 0.9)
        for job in [frozen.run(Path(method), {"optimizer.base_lr": rate}, 3, None, method)]
    }
    assert len(shas) == 1
    held = planned.held("simclr")
    assert held["batch_size"] == {"batch_size": 60}
    assert held["backbone"]["backbone.widths"] == [8, 16]
    assert "optimizer.momentum" in held["optimizer"]
    assert not any(key.endswith((".lr", "base_lr")) for key in held["optimizer"])


def changed(**own: Any) -> Planned:
    methods = {**TINY_STUDY["methods"], "simsiam": {"overrides": [*SIMSIAM, *own.pop("more", [])]}}
    return frozen_of(tiny(methods=methods, **own))


HELD = {
    "batch_size=40": "batch_size=60 of simclr, 40 of simsiam",
    "backbone.widths=[8,32]": r"backbone.widths=\[8, 16\] of simclr, \[8, 32\] of simsiam",
    "augmentation.blur=1": "augmentation.blur=0.0 of simclr, 1 of simsiam",
    "optimizer.momentum=0.5": "optimizer.momentum=0.9 of simclr, 0.5 of simsiam",
    "monitor.k=5": "monitor.k=20 of simclr, 5 of simsiam",
    "trainer.max_steps=3": "trainer.max_steps=-1 of simclr, 3 of simsiam",
}


@pytest.mark.parametrize("more", only(["augmentation.blur=1"], HELD))
def test_methods_that_differ_where_they_are_held_are_refused(more: str) -> None:
    with pytest.raises(UserError, match=f"held, but not equal: .*{HELD[more]}") as raised:
        changed(more=[more])
    assert "allow_differ" in str(raised.value)


@pytest.mark.slow
def test_what_may_differ_may() -> None:
    planned = changed(more=["batch_size=40"], allow_differ=["batch_size"])
    assert planned.held("simclr") == planned.held("simsiam")


@pytest.mark.parametrize(
    ("own", "line"),
    every(
        6,
        [
            (
                {"search": {"optimizer.betas": "choice(1,2)"}},
                "methods.simclr: optimizer.betas is se",
            ),
            ({"search": {"method.temperatur": "interval(0,1)"}}, "did you mean method.temperature"),
            (
                {"search": {"epoch": "choice(1,2)"}},
                "epoch is searched, but not a key of its config",
            ),
            (
                {"search": {"optimizer.base_lr": "choice(a,b)"}},
                "methods.simclr: optimizer.base_lr=a: give a number",
            ),
            (
                {"overrides": ["epohcs=3"]},
                r"methods.simclr: epohcs is not a key of the config: did yo",
            ),
            (
                {"overrides": ["lr=3"]},
                "methods.simclr: lr is not a key here: give optimizer.base_lr",
            ),
            ({"overrides": ["epochs=0"]}, "methods.simclr: epochs=0: give a whole number"),
            ({"overrides": ["method.loss_wight=2"]}, "did you mean method.loss_weight"),
            ({"overrides": ["trainer.fast_dev_run=true"]}, "a study trains its runs"),
            ({"overrides": ["backbone=none"]}, "backbone=none is not an option"),
            ({"held": ["backbon"]}, "held=backbon is not a place of the config"),
            (
                {"folds": ["dataset.folt=0", "dataset.folt=1"]},
                "dataset.folt is searched, but not a key",
            ),
        ],
    ),
)
def test_what_train_py_would_refuse_is_refused(own: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line) as raised:
        frozen_of(tiny(methods={"simclr": {}}, **{"search": {}, **own}))
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_folds_are_no_other_configuration() -> None:
    folds = ["dataset.fold=0", "dataset.fold=3"]
    common = [*TINY_STUDY["common"], "dataset.class_split=hash"]
    planned = frozen_of(tiny(methods={"simclr": {}}, folds=folds, common=common, search={}))
    frozen = planned.frozen["simclr"]
    jobs = [frozen.run(Path("x"), {}, 0, fold, "x") for fold in folds]
    assert [job.config["data"]["fold"] for job in jobs] == [0, 3]
    assert len({frozen.config_sha(job) for job in jobs}) == 1
    assert runs_of(planned.settings) == {
        "hpo": 4, "rerun": 2, "final": 4, "ceiling": 0, "method": 2, "floor": 2, "oracle": 0,
    }  # fmt: skip


def test_hours_add_up() -> None:
    settings = tiny(jobs=2, floors=False)
    method = {
        "steps": 100,
        "seconds_per_step": 0.5,
        "monitorings": 3,
        "monitor_seconds": 2.0,
        "overhead_seconds": 4.0,
    }
    # 5 runs of 60 s and 2 readings of 10 s for each of 2 methods, 2 at once
    hours = hours_of(settings, {"simclr": method, "simsiam": method})
    assert hours == pytest.approx(2 * (5 * 60 + 2 * 10) / 2 / 3600)
