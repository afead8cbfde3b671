"""What a run logs: one row per metric, with its display and whether runs are chosen by it."""

from __future__ import annotations

from collections.abc import Container
from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: As it is logged; one that ends in a slash stands for all names that begin with it.
        panel: Title of its panel among the curves.
        label: In the progress bar; "" = not shown there.
        is_share: Whether it is shown in %.
        objective: "max" or "min": runs and checkpoints are chosen by it; None = not by it.
        protocol: The protocol of evaluate.py that measures the same on test.
        on_val: Whether a monitor measures it on val, every few epochs.
    """

    name: str
    panel: str
    label: str = ""
    is_share: bool = False
    objective: Literal["max", "min"] | None = None
    protocol: str = ""
    on_val: bool = False

    def shown(self, value: float) -> str:
        """The value as a person reads it."""
        return f"{100 * value:.1f}%" if self.is_share else f"{value:.3f}"

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value of an objective is better than the best so far."""
        if best is None:
            return True
        return value > best if self.objective == "max" else value < best


VAL = "val/"  # how the names of what a monitor measures on val begin

# In the order of the panels; of several objectives that a run logs, the first one counts.
METRICS = (
    LOSS := Metric("train/loss", "loss"),
    LOSS_MEAN := Metric("train/loss_epoch", "loss"),
    KNN_TOP1 := Metric("val/knn_top1", "top-1 on val", "kNN", True, "max", "linear", on_val=True),
    PROBE_TOP1 := Metric("val/probe_top1", "top-1 on val", "probe", True, on_val=True),
    MAP_AT_R := Metric(
        "val/map_at_r",
        "retrieval on val's classes",
        "MAP@R",
        True,
        "max",
        "retrieval",
        on_val=True,
    ),
    PRECISION_AT_1 := Metric(
        "val/precision_at_1", "retrieval on val's classes", "", True, on_val=True
    ),
    COLLAPSE_STD := Metric("collapse/std", "collapse/std (1 = healthy)"),
    EFFECTIVE_RANK := Metric("collapse/effective_rank", "collapse/effective_rank"),
    SIGREG := Metric("collapse/sigreg", "collapse/sigreg (1 = Gaussian)", on_val=True),
    LEARNING_RATE := Metric("lr/", "learning rate"),  # lr/<parameter group>
    SPEED := Metric("speed/images_per_second", "images per second"),
)
# Of the weights that a run starts from: logged once, a level among the curves.
KNN_AT_START = Metric("val/knn_top1_at_start", KNN_TOP1.panel, "", True)
# Beside every row: the epoch, from 0, and the training images of all devices up to this step.
EPOCH, IMAGES_SEEN = "epoch", "images_seen"
# The run's seconds so far, over all its parts; in metrics.csv once a step.
WALL_SECONDS = "speed/wall_seconds"
GLOBAL_STEP = "trainer/global_step"  # Lightning's name for the step in W&B
AXES = (GLOBAL_STEP, EPOCH, IMAGES_SEEN, WALL_SECONDS)
# Of a logged step, without a panel among the curves. The gradient's norm is that before clipping.
GRAD_NORM, EMA_MOMENTUM = "grad_norm", "ema/momentum"
# Of all steps since the last logged one, means: waiting for a batch and its views, and the rest.
DATA_SECONDS, COMPUTE_SECONDS = "speed/data_seconds", "speed/compute_seconds"
PEAK_MEMORY = "speed/peak_memory_gb"  # of rank 0
# Of a row of evaluate.py: scores of a classifier on test.
TEST_TOP1, BALANCED_TOP1, TOP5 = "test_top1", "test_balanced_top1", "test_top5"
TOP1_BY_CLASS = "test_top1_by_class"  # a list by label; None for a class that test lacks
MAJORITY_SHARE = "test_majority_share"  # the top-1 of always answering test's most frequent class
IMAGES_SCORED = "num_test_images"
OBJECTIVES = tuple(metric for metric in METRICS if metric.objective)


def of_training(name: str) -> str:
    """The name under which a scalar of a training step is logged."""
    return f"train/{name}"


def epoch_mean(name: str) -> str:
    """The name of a metric's mean over an epoch."""
    return f"{name}_epoch"


def best_of(name: str) -> str:
    """The name of the best value of a run so far; the plain name has the last one."""
    return f"{name}_best"


def of_setting(name: str, setting: object) -> str:
    """The name of a score that a row has for several settings, such as k10 or 1pct."""
    return f"{name}_{setting}" if setting else name


def metric_named(name: str) -> Metric:
    """A metric by its name, with the direction in which it is better; also one of a user's part."""
    known = next((metric for metric in METRICS if metric.name == name), Metric(name, name))
    falls = any(word in name.lower() for word in ("loss", "error", "sigreg"))
    return known if known.objective else known._replace(objective="min" if falls else "max")


def objective_of(logged: Container[str], chosen: str | None = None) -> Metric | None:
    """What runs are chosen by among these logged names; None if it is not there.

    Args:
        logged: Names of metrics.
        chosen: The one to take; None = the first of `OBJECTIVES`.
    """
    if chosen is not None:
        return metric_named(chosen) if chosen in logged else None
    return next((metric for metric in OBJECTIVES if metric.name in logged), None)
