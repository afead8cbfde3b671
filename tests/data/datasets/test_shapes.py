"""The splits of the drawn shapes."""

from __future__ import annotations

import pytest

from helpers.images import everything
from ssl_zoo.data import datasets
from ssl_zoo.types import UserError


def test_shapes_test_set_does_not_depend_on_the_training_set() -> None:
    small, large = datasets.shapes(0, 20, 30), datasets.shapes(0, 40, 30)
    assert everything(small.train).shape == (20, 3, 32, 32)
    assert everything(small.train).equal(everything(large.train)[:20])
    assert everything(small.test).equal(everything(large.test))
    assert not everything(small.test)[:20].equal(everything(small.train))
    assert set(small.train.labels.tolist()) == set(range(len(small.class_names)))


def test_shapes_refuses_an_empty_split() -> None:
    with pytest.raises(UserError, match="num_test=0"):
        datasets.shapes(num_test=0)
