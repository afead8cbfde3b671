"""What runs vary, and the spread over their seeds."""

from __future__ import annotations

import pytest

from ssl_zoo.multirun import by_setting, mean_and_s, settings_of, varied


def test_what_varies_is_a_value_and_not_how_it_is_typed() -> None:
    typed = (
        ["method.temperature=0.1", "seed=0", "run_dir=runs/a", "logger.wandb.project=x"],
        ["method.temperature=0.10", "seed=1", "run_dir=runs/b", "name=mine"],
        ["+method.temperature=1e-1", "seed=1", "dataset.num_workers=3"],
    )
    settings = [settings_of(one) for one in typed]
    assert varied(settings) == ["seed"]
    assert [one.runs for one in by_setting(settings, ["method.temperature", "seed"])] == [[0, 1, 2]]


def test_settings_stand_in_the_order_of_their_first_runs() -> None:
    settings = [{"method": m, "seed": s} for s in "01" for m in ("moco", "byol")]
    assert varied(settings) == ["method", "seed"]
    assert by_setting([*settings, {}], varied(settings)) == [
        ({"method": "moco"}, [0, 2]),
        ({"method": "byol"}, [1, 3]),
        ({"method": ""}, [4]),
    ]


def test_the_sample_standard_deviation() -> None:
    mean, s = mean_and_s([0.1, 0.2, 0.6])
    assert mean == pytest.approx(0.3)
    assert s == pytest.approx((0.04 + 0.01 + 0.09) ** 0.5 / 2**0.5)
    assert mean_and_s([0.5]) == (0.5, None)
