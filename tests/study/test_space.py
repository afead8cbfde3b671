"""The points that a study tries."""

from __future__ import annotations

import math

import pytest

from ssl_zoo.study.space import dimension_of, sobol, space_of
from ssl_zoo.types import UserError

SHARED = {"optimizer.base_lr": "tag(log,interval(0.001,10))", "optimizer.x": "interval(0.5,1.5)"}
OWN = {
    "one": {"method.temperature": "tag(log,interval(0.02,1))"},
    "two": {},
    "three": {"method.a": "choice(1,2,3)", "method.b": "range(1,9)", "method.c": "interval(1,4)"},
}


def test_methods_share_their_points_in_the_shared_dimensions() -> None:
    points = sobol(space_of(SHARED, OWN), trials=20, seed=3)
    shared = {m: [{k: p[k] for k in SHARED} for p in one] for m, one in points.items()}
    assert shared["one"] == shared["two"] == shared["three"]
    assert len(points["one"]) == 20
    assert list(points["one"][0]) == [*SHARED, "method.temperature"]
    rates = [math.log10(p["optimizer.base_lr"]) for p in points["one"]]  # type: ignore[arg-type]
    quarters = [sum(lo <= rate < lo + 1 for rate in rates) for lo in (-3, -2, -1, 0)]
    assert sum(quarters) == 20
    assert min(quarters) >= 4  # a quarter each, as evenly as 20 points can be


def test_points_depend_on_number_and_seed_alone() -> None:
    space = space_of(SHARED, OWN)
    many = sobol(space, trials=20, seed=0)
    assert sobol(space, trials=5, seed=0)["three"] == many["three"][:5]
    assert sobol(space, trials=20, seed=0) == many
    assert sobol(space, trials=20, seed=1) != many


def test_a_methods_own_bounds_replace_the_shared_ones_at_the_same_share() -> None:
    own = {"one": {}, "two": {"optimizer.x": "interval(10,20.0)"}}
    points = sobol(space_of(SHARED, own), trials=4, seed=0)
    for a, b in zip(points["one"], points["two"], strict=True):
        assert b["optimizer.x"] == pytest.approx(10 * (a["optimizer.x"] - 0.5) + 10, rel=1e-4)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("interval(0.5,1.5)", (0.5, 1.5)),
        ("tag(log,interval(0.02,1))", (0.02, 1.0)),
        ("int(interval(2,5))", (2, 5)),
        ("int(tag(log,interval(1,100)))", (1, 100)),
        ("range(1,9,2)", (1, 7)),
        ("range(0.1,0.4,0.1)", (0.1, 0.3)),
        ("choice(true,false)", (True, False)),
        ("null,1", (None, 1)),
        ("choice([1,2],[3])", ([1, 2], [3])),
        ("a,b", ("a", "b")),
    ],
)
def test_a_dimension_reaches_its_ends_and_stays_inside(text: str, ends: tuple[object, ...]) -> None:
    one = dimension_of("knob", text)
    assert (one.at(0.0), one.at(1 - 2**-40)) == ends
    if isinstance(ends[0], int | float) and not isinstance(ends[0], bool):
        values = [one.at(i / 100) for i in range(100)]
        assert all(ends[0] <= value <= ends[1] for value in values)  # type: ignore[operator]


def test_whole_numbers_are_equally_frequent() -> None:
    one = dimension_of("knob", "int(interval(1,4))")
    values = [one.at((i + 0.5) / 400) for i in range(400)]
    assert [values.count(k) for k in (1, 2, 3, 4)] == [100] * 4
    assert {type(value) for value in values} == {int}


@pytest.mark.parametrize(
    ("knob", "text", "line"),
    [
        ("method.temperature", "0.1", "search.method.temperature=0.1 is one value"),
        ("method.temperature", "choice(0.1)", "is one value"),
        ("method.temperature", "tag(log,interval(0,1))", "with log an interval starts above 0"),
        ("method.temperature", "interval(1,0)", "ends before it starts"),
        ("method.temperature", "interval(0,", "cannot be read"),
        ("method/loss", "choice(nce,info_nce)", "what chooses another part is another method"),
        ("+method.x", "choice(1,2)", "what chooses another part is another method"),
        ("seed", "range(0,5)", "seed is not a knob to search over"),
        ("epochs", "choice(10,20)", "epochs is not a knob to search over"),
    ],
)
def test_what_cannot_be_searched_gives_one_line(knob: str, text: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as raised:
        dimension_of(knob, text)
    assert f"{knob}={text}" in str(raised.value)
