"""Numbers of the monitors that make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from ssl_zoo.callbacks import CollapseMonitor, EarlyStopping, KNNMonitor, LinearProbe
from ssl_zoo.callbacks.clean_features import CleanFeatures
from ssl_zoo.callbacks.retrieval_monitor import RetrievalMonitor
from ssl_zoo.callbacks.sigreg_monitor import SIGRegMonitor
from ssl_zoo.types import BadValue

MONITORS = [KNNMonitor, LinearProbe, RetrievalMonitor, SIGRegMonitor]


@pytest.mark.parametrize("value", [0, -2, 1.5, None, True])
def test_how_often(value: Any) -> None:
    for monitor in MONITORS:
        with pytest.raises(BadValue, match=r"^every_n_epochs="):
            monitor(CleanFeatures(), every_n_epochs=value)
    with pytest.raises(BadValue, match=r"^every_n_epochs="):
        EarlyStopping("val/knn_top1", every_n_epochs=value)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        *(("min_std", value) for value in (float("nan"), -1, "low")),
        *(("min_rank", value) for value in (float("nan"), float("inf"), -0.5)),
        *(("min_steps", value) for value in (-5, 0.5, None)),
    ],
)
def test_thresholds_of_a_collapse(knob: str, value: Any) -> None:
    with pytest.raises(BadValue, match=f"^{knob}="):
        CollapseMonitor(**{knob: value})
    CollapseMonitor(min_std=0, min_rank=0, min_steps=0)  # never warns
