"""What several protocols share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ssl_zoo.evaluation.linear import top1_by_class
from ssl_zoo.figures import save_per_class
from ssl_zoo.protocols.candidate import Task
from ssl_zoo.types import UserError


def listed(values: Sequence[Any], knob: str) -> list[Any]:
    """A list of a config as Python's.

    Raises:
        UserError: If it is none, naming the knob.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UserError(f"protocol.{knob}={values}: give a list, such as [{values}]")
    return list(values)


def score_on_test(predict: Callable[[Tensor], Tensor], task: Task) -> dict[str, Any]:
    """`test_top1`, and of each class (None where test has no image of it), with a picture."""
    features, label = task.features.test
    predicted = predict(features).argmax(dim=1)
    by_class = top1_by_class(predicted, label, task.data.num_classes)
    if (path := task.figure("per_class")) is not None:
        known = [math.nan if top1 is None else top1 for top1 in by_class]
        save_per_class(known, task.data.class_names, path)
    top1 = float((predicted == label).float().mean())
    return {"test_top1": top1, "test_top1_by_class": by_class}
