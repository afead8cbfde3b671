"""The logistic protocol's row."""

from __future__ import annotations

import pytest

from helpers.protocols import noisy, planted, protocol
from ssl_zoo.evaluation.logistic import STRENGTHS


def test_protocol_row() -> None:
    candidate = planted(noisy(0, True), noisy(2, False), noisy(1, True), 2)
    row = protocol("logistic", strengths=[100.0, 1e-4]).score(candidate)
    assert row["strength"] == 100.0
    assert row["val_top1"] == max(row["val_top1_by_strength"])
    assert row["converged"]
    assert sum(row["test_top1_by_class"]) / 2 == pytest.approx(row["test_top1"])
    assert protocol("logistic").strengths == list(STRENGTHS)
