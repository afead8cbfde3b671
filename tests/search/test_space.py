"""Hydra's grammar as distributions, and points as overrides again."""

from __future__ import annotations

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ssl_zoo.search.space import space_of
from ssl_zoo.types import UserError


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("interval(0.02,1)", FloatDistribution(0.02, 1.0)),
        ("interval(0,1)", FloatDistribution(0.0, 1.0)),  # Hydra's intervals are of floats
        ("tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 0.1, log=True)),
        ("int(interval(1,5))", IntDistribution(1, 5)),
        ("tag(log,int(interval(4,256)))", IntDistribution(4, 256, log=True)),
        ("int(tag(log,interval(4,256)))", IntDistribution(4, 256, log=True)),
        ("range(1,4)", IntDistribution(1, 3)),  # without its end, as plain -m has it
        ("range(2,11,4)", IntDistribution(2, 10, step=4)),
        ("range(5,0,-2)", IntDistribution(1, 5, step=2)),
        ("shuffle(range(1,4))", IntDistribution(1, 3)),
        ("tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
        ("range(0.1,0.4,0.1)", FloatDistribution(0.1, 0.3, step=0.1)),
        ("range(3,4)", CategoricalDistribution(["3"])),
        ("choice(0.1,0.20)", CategoricalDistribution(["0.1", "0.2"])),
        ("0.1,null", CategoricalDistribution(["0.1", "null"])),
        ("0.1,0.2,0.1", CategoricalDistribution(["0.1", "0.2"])),
        ("a,'b c'", CategoricalDistribution(["a", "'b c'"])),
        ("[1,2],[3]", CategoricalDistribution(["[1,2]", "[3]"])),
        ("true,false", CategoricalDistribution(["True", "False"])),
    ],
)
def test_the_grammar(typed: str, expected: BaseDistribution) -> None:
    assert space_of([f"knob={typed}"]).knobs == {"knob": expected}


def test_a_point_becomes_overrides_in_their_order() -> None:
    space = space_of(
        ["a=1", "+b=range(0.1,0.8,0.1)", "c=x,'y z'", "~d", "e=int(interval(1,9))", "a=[2, 3]"]
    )
    point = {"+b": 0.1 + 0.1 + 0.1 - 1e-12, "c": "'y z'", "e": 4}
    assert space.overrides(point) == ["+b=0.3", "c='y z'", "~d", "e=4", "a=[2,3]"]
    again = space_of([*space.overrides(point), "f=1,2"])
    assert again.overrides({"f": "2"}) == [*space.overrides(point), "f=2"]


def test_the_last_of_several_counts() -> None:
    space = space_of(["a=interval(0,1)", "b=1,2", "a=3"])
    assert list(space.knobs) == ["b"]
    assert space.overrides({"b": "1"}) == ["b=1", "a=3"]


def test_a_grid_has_all_values_of_all_knobs() -> None:
    space = space_of(["a=x,y", "b=range(1,6,2)", "c=range(0.5,1.4,0.25)"])
    assert space.grid() == {"a": ["x", "y"], "b": [1, 3, 5], "c": [0.5, 0.75, 1.0, 1.25]}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["a=1"], "nothing to search over"),
        (["seed=0,1", "a=1,2"], "would choose the luckiest"),
        (["+seed=range(0,3)"], "would choose the luckiest"),
        (["a=interval(1,0.5)"], r"a=interval\(1,0.5\): the interval ends before it starts"),
        (["a=tag(log,interval(0,1))"], "starts above 0"),
        (["a=tag(log,interval(-1,1))"], "starts above 0"),
        (["a=tag(log,range(0,5))"], "starts above 0"),
        (["a=tag(log,range(1,9,2))"], "in steps of 1"),
        (["a=range(3,1)"], "empty range"),
        (["a=interval(0,inf)"], "the ends of an interval are numbers"),
        (["a=interval(nan,1)"], "the ends of an interval are numbers"),
        (["run_dir=a,b"], "run_dir is not a knob"),
        (["sweep=a,b"], "sweep is not a knob"),
    ],
)
def test_what_makes_no_sense_is_refused(typed: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        space_of(typed)


def test_a_grid_of_an_interval_is_refused() -> None:
    with pytest.raises(UserError, match="a grid needs values one by one"):
        space_of(["a=1,2", "b=interval(0,1)"]).grid()
