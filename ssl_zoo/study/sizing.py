"""How large a study can be within its budget, from what a few steps took. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ssl_zoo.console import duration
from ssl_zoo.study.clock import seconds_of
from ssl_zoo.study.settings import Settings
from ssl_zoo.types import UserError, listed

REPORT = 20.0  # seconds, of the figures mostly
_END = 3.0  # of a run: its checkpoint and figures
_READING = 3  # passes of the monitors that an evaluation takes
_MONITORINGS = 4  # beside the first, of a run whose epochs follow from the budget
_LEAST_STEPS, _ENOUGH_STEPS = 50, 500  # of a run
_ALL = 1000


class Shape(NamedTuple):
    """The most that a study has: methods, trials, configurations run again, and seeds."""

    methods: int
    trials: int
    configs: int
    again: int
    seeds: int


# From the largest to the smallest that still compares anything.
_SHAPES = (
    Shape(_ALL, _ALL, _ALL, _ALL, _ALL),
    Shape(_ALL, 12, 3, 2, 5),
    Shape(_ALL, 8, 2, 2, 5),
    Shape(_ALL, 8, 2, 1, 4),
    Shape(_ALL, 6, 2, 1, 3),
    Shape(4, 6, 2, 1, 3),
    Shape(3, 6, 2, 1, 3),
    Shape(3, 4, 0, 0, 3),
    Shape(2, 4, 0, 0, 3),
    Shape(2, 3, 0, 0, 3),
    Shape(2, 2, 0, 0, 2),
)


@dataclass(frozen=True)
class Costs:
    """What the parts of a study take, in seconds, on one of the places where runs go.

    Attributes:
        fixed: Of a run of each method, without its epochs.
        epoch: Of an epoch of each.
        reading: Of a reading of test of each.
    """

    fixed: dict[str, float]
    epoch: dict[str, float]
    reading: dict[str, float]

    def run(self, method: str, epochs: float) -> float:
        """A whole run."""
        return self.fixed[method] + epochs * self.epoch[method]


def costs_of(measured: Mapping[str, Mapping[str, Any]], epochs: int) -> Costs:
    """From what `plan` has measured.

    Args:
        measured: By method, of runs of this many epochs.
        epochs: Of those.
    """
    fixed, epoch, reading = {}, {}, {}
    for method, one in measured.items():
        start = one["overhead_seconds"]
        fixed[method] = start + (1 + _MONITORINGS) * one["monitor_seconds"] + _END
        epoch[method] = one["steps"] / epochs * one["seconds_per_step"]
        reading[method] = start + _READING * one["monitor_seconds"]
    return Costs(fixed, epoch, reading)


def fitted(
    settings: Settings,
    measured: Mapping[str, Mapping[str, Any]],
    epochs: int,
    spent: float,
    slots: int,
) -> tuple[Settings, list[str]]:
    """The settings made as small as the budget asks, and what was made smaller, in words.

    Args:
        settings: As given: the most that there may be.
        measured: By method, what `plan` has measured.
        epochs: Of the settings.
        spent: Seconds of the budget.
        slots: Runs at once.

    Raises:
        UserError: If nothing that compares anything fits.
    """
    known = {name: own for name, own in settings.methods.items() if name in measured}
    every, settings = list(settings.methods), replace(settings, methods=known)
    costs, time = costs_of(measured, epochs), seconds_of(settings.budget) - spent
    free = not any(one.startswith("epochs=") for one in settings.overrides)
    per_epoch = min(one["steps"] for one in measured.values()) / epochs
    least, enough = (
        max(1, min(epochs, math.ceil(steps / per_epoch))) if free else epochs
        for steps in (_LEAST_STEPS, _ENOUGH_STEPS)
    )
    shapes = [_within(shape, settings) for shape in _SHAPES]
    for wanted in (enough, least):
        for shape in shapes:
            found = min(epochs, _epochs(shape, settings, costs, time, slots))
            if found >= wanted:
                smaller = _as_settings(settings, shape, found, epochs)
                seconds = _seconds(shape, found, settings, costs, slots) + spent
                left_out = [name for name in every if name not in smaller.methods]
                return smaller, _notes(settings, shape, found, epochs, left_out, seconds)
    smallest = _seconds(shapes[-1], least, settings, costs, slots) + spent
    minutes = math.ceil(smallest * 1.1 / 60)
    raise UserError(
        f"budget={settings.budget} is too short: {_in_words(shapes[-1])}, {least} epochs each, "
        f"take about {duration(smallest)} here; give budget={minutes}min or more, or make the "
        "images or the backbone smaller (dataset.image_size, backbone)"
    )


def _within(shape: Shape, settings: Settings) -> Shape:
    configs = min(shape.configs, settings.rerun["configs"], settings.trials)
    again = min(shape.again, settings.rerun["seeds"])
    methods = min(shape.methods, len(settings.methods))
    trials, seeds = min(shape.trials, settings.trials), min(shape.seeds, settings.seeds)
    return Shape(methods, trials, configs if again else 0, again if configs else 0, seeds)


def _runs(shape: Shape, settings: Settings) -> int:
    """Of each method."""
    one = shape.trials + shape.configs * shape.again + shape.seeds
    return one * len(settings.folds or [None])


def _seconds(shape: Shape, epochs: float, settings: Settings, costs: Costs, slots: int) -> float:
    """What a study takes from its plan to its report."""
    methods = list(settings.methods)[: shape.methods]
    of_runs = [costs.run(method, epochs) for method in methods]
    readings = [costs.reading[method] for method in methods]
    total = _runs(shape, settings) * sum(of_runs) + shape.seeds * sum(readings)
    total += shape.seeds * max(readings) * settings.floors
    total += shape.seeds * 1.5 * max(of_runs) * settings.ceiling
    total += shape.trials * sum(readings) * settings.oracle
    stages = 2 + (shape.configs > 0)  # each ends with slots that have nothing to do
    idle = stages * max(of_runs) * (slots - 1) / 2
    return (total + idle) / slots + REPORT


def _epochs(shape: Shape, settings: Settings, costs: Costs, time: float, slots: int) -> int:
    """The most that fit; what a study takes is linear in them."""
    none, one = (_seconds(shape, epochs, settings, costs, slots) for epochs in (0.0, 1.0))
    return int((time - none) / max(one - none, 1e-9))


def _as_settings(settings: Settings, shape: Shape, epochs: int, most: int) -> Settings:
    own = []
    if epochs < most:
        own = [f"epochs={epochs}", f"monitor.every_n_epochs={math.ceil(epochs / _MONITORINGS)}"]
    kept = list(settings.methods)[: shape.methods]
    return replace(
        settings,
        methods={name: settings.methods[name] for name in kept},
        overrides=[*settings.overrides, *own],
        trials=shape.trials,
        rerun={"configs": shape.configs, "seeds": shape.again},
        seeds=shape.seeds,
    )


def _notes(
    settings: Settings,
    shape: Shape,
    epochs: int,
    most: int,
    left_out: Sequence[str],
    seconds: float,
) -> list[str]:
    again = settings.rerun["configs"] * settings.rerun["seeds"]
    pairs = {
        "trials": (shape.trials, settings.trials),
        "reruns of the best": (shape.configs * shape.again, again),
        "final seeds": (shape.seeds, settings.seeds),
        "epochs": (epochs, most),
    }
    fewer = [f"{has} of {of} {what}" for what, (has, of) in pairs.items() if has < of]
    notes = [f"budget={settings.budget}: planned for {duration(seconds)}"]
    if left_out:
        notes.append(f"left out for the budget, not for their scores: {', '.join(left_out)}")
    if fewer:
        notes.append(f"fewer for the budget, the same for all methods: {listed(fewer, 9)}")
    return notes


def _in_words(shape: Shape) -> str:
    return f"{shape.methods} methods with {shape.trials} trials and {shape.seeds} final seeds"
