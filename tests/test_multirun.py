"""What runs vary, and the spread over their seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy import stats

from ssl_zoo.multirun import by_setting, sampled_in_log, settings_of, spread_of, varied


def test_what_varies_is_a_value_and_not_how_it_is_typed() -> None:
    typed = (
        ["method.temperature=0.1", "seed=0", "run_dir=runs/a", "logger.wandb.project=x"],
        ["method.temperature=0.10", "seed=1", "run_dir=runs/b", "name=mine"],
        ["+method.temperature=1e-1", "seed=1", "dataset.num_workers=3"],
    )
    settings = [settings_of(one) for one in typed]
    assert varied(settings) == ["seed"]
    assert [one.runs for one in by_setting(settings, ["method.temperature", "seed"])] == [[0, 1, 2]]


def test_lists_and_texts_are_one_value_however_they_are_typed() -> None:
    assert varied([{"w": "[8,16]", "n": "'a'"}, {"w": "[8, 16]", "n": "a"}]) == []


def test_a_text_is_shown_without_what_it_needed_on_the_command_line() -> None:
    typed = [r"a='my photos, two'", r"b=my\ photos\,\ two", r"""c='b\'s'""", 'd="x=y"', "e=[8,16]"]
    shown = {"a": "my photos, two", "b": "my photos, two", "c": "b's", "d": "x=y", "e": "[8,16]"}
    assert settings_of(typed) == shown
    odd = {"f": "''", "g": "['a b']", "h": "it's"}  # nothing to see, a list, no text of Hydra's
    assert settings_of(f"{key}={value}" for key, value in odd.items()) == odd


def test_settings_stand_in_the_order_of_their_first_runs() -> None:
    settings = [{"method": m, "seed": s} for s in "01" for m in ("moco", "byol")]
    assert varied(settings) == ["method", "seed"]
    assert by_setting([*settings, {}], varied(settings)) == [
        ({"method": "moco"}, [0, 2]),
        ({"method": "byol"}, [1, 3]),
        ({"method": ""}, [4]),
    ]


def test_the_spread_over_seeds() -> None:
    spread = spread_of([0.1, 0.2, 0.6])
    assert spread.mean == pytest.approx(0.3)
    assert spread.s == pytest.approx((0.04 + 0.01 + 0.09) ** 0.5 / 2**0.5)
    assert spread.n == 3
    error = stats.sem([0.1, 0.2, 0.6])
    assert spread.interval == pytest.approx(stats.t.interval(0.95, 2, 0.3, error))
    assert spread_of([0.5]) == (0.5, None, 1, None)
    assert spread_of([0.5, 0.5]).interval == (0.5, 0.5)


def test_a_knob_that_was_drawn_on_a_log_scale_is_known(tmp_path: Path) -> None:
    assert sampled_in_log(tmp_path) == []
    drawn = ["a.lr=tag(log,interval(1e-4,1e-1))", "+b=tag( log, choice(1,2))", "c=interval(0,1)"]
    for text, knobs in {
        "": [],
        "just words": [],
        "a: [b": [],
        "hydra: {}": [],
        json.dumps({"hydra": {"overrides": {"task": [*drawn, "d=tag(x,interval(0,1))"]}}}): [
            "a.lr",
            "b",
        ],
    }.items():
        (tmp_path / "multirun.yaml").write_text(text)
        assert sampled_in_log(tmp_path) == knobs
