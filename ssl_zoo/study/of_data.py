"""What a study's data allow: its metric, its folds, and how much few images tell. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssl_zoo.config import nearest
from ssl_zoo.study.guards.equal import unequal
from ssl_zoo.study.settings import Settings
from ssl_zoo.study.statistics import sampling_error
from ssl_zoo.types import UserError, listed

_FOLD = "dataset.fold="
_FEW = 400  # images, on which a share of a half has an error of 5 points


def check_data(settings: Settings, measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse data on which nothing can be selected, or nothing is left to be scored.

    Raises:
        UserError: Naming what is missing.
    """
    for method, one in measured.items():
        images = one["data"]["images"]
        if not images["val"] or not one["labelled"]:
            what = "no validation images" if not images["val"] else "no labels"
            raise UserError(
                f"methods.{method}: the data set has {what}, so that {settings.metric} cannot be "
                "measured: give dataset.val_fraction=0.1, and class folders"
            )
        if len(one["data"]["classes"]) < 2:
            raise UserError(
                f"methods.{method}: all images are of one class ({listed(one['data']['classes'])}),"
                " so that every score is 100%: give data with a folder for each of several classes"
            )
        if not images["test"]:
            raise UserError(
                f"methods.{method}: the data set has no test images: give it a test folder, "
                "dataset.test_fraction=0.2 (of dataset=folder), or dataset.class_split=hash with "
                "protocols=[retrieval] metric=val/map_at_r"
            )


def check_metric(settings: Settings, measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a metric that a method's monitors did not measure in its first steps.

    Raises:
        UserError: Naming those that they did.
    """
    for method, one in measured.items():
        if settings.metric not in one["on_val"]:
            fix = "nothing is, without a monitor: give callbacks=default"
            if one["on_val"]:
                fix = nearest(settings.metric, one["on_val"])
            raise UserError(f"metric={settings.metric} is not measured on val by {method}: {fix}")


def check_amounts(
    settings: Settings, measured: Mapping[str, Mapping[str, Any]], epochs: Mapping[str, int]
) -> None:
    """Refuse methods whose runs differ in the unit of the budget, which G6 would refuse at the end.

    Args:
        settings: Of the study.
        measured: Of each method, with what a run of it takes.
        epochs: Of each method's runs.

    Raises:
        UserError: Naming a method, and about how many epochs it would have.
    """
    unit = settings.unit
    if unit == "seconds" or "G6" in map(str.upper, settings.waive):
        return
    middle, other = unequal({name: one[unit] for name, one in measured.items()}, unit)
    for method, amount in other.items():
        raise UserError(
            f"unit={unit}: a run of {method} has {amount:,} {unit} in {epochs[method]} epochs, "
            f"others {middle:,}: give it about epochs={epochs[method] * middle / amount:.1f} "
            f"by methods.{method}.overrides, with allow_differ=[epochs], or choose another unit"
        )


def check_folds(settings: Settings, measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse folds that the classes do not give.

    Raises:
        UserError: Naming the folds that there are.
    """
    folds = [one for one in settings.folds or [] if one.startswith(_FOLD)]
    most = min(int(one.get("folds", len(folds))) for one in measured.values())
    if len(folds) <= most:
        return
    classes = len(next(iter(measured.values()))["data"]["classes"])
    fix = "give dataset.class_split=hash or contiguous"
    if most > 1:
        fix = f"give folds=[{','.join(f'{_FOLD}{fold}' for fold in range(most))}]"
    elif most == 1:
        fix = "give folds=null"
    raise UserError(
        f"folds: {len(folds)} are asked for, and the {classes} classes of this data set make "
        f"{most} (each needs two classes for val): {fix}, or data with more classes"
    )


def few_images(images: Mapping[str, int | None]) -> list[str]:
    """Lines about val and test if they have few images."""
    roles: Sequence[tuple[str, str]] = (
        ("val", "the best of several configurations may be the luckiest"),
        ("test", "differences below that may not hold on other images"),
    )
    found = []
    for name, what in roles:
        count = images.get(name) or 0
        if 0 < count < _FEW:
            error = 100 * sampling_error(0.5, count)
            found.append(f"{name} has {count} images: a score on it is ±{error:.0f} points: {what}")
    return found
