"""Which images are encoded for the monitors, and how often."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from pytorch_lightning import LightningModule, Trainer

from helpers.configs import Make
from ssl_zoo.callbacks import CleanFeatures
from ssl_zoo.evaluation.features import Features
from ssl_zoo.train import train


class CountEncodings(CleanFeatures):
    """Counts the images of each encoding."""

    def __init__(self, bank_size: int | None = None) -> None:
        super().__init__(bank_size)
        self.lengths: list[int] = []

    def _encode(self, trainer: Trainer, module: LightningModule, loader: Iterable[Any]) -> Features:
        features = super()._encode(trainer, module, loader)
        self.lengths.append(len(features.label))
        return features


def test_monitors_share_one_encoding_and_the_bank_is_whole(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = CountEncodings()
    monkeypatch.setattr("ssl_zoo.training.run.CleanFeatures", lambda bank_size: features)
    train(make_config("epochs=2"))
    # bank and val, before the first epoch and once after each, and not for the map
    assert features.lengths == [270, 30] * 3


@pytest.mark.slow
def test_bank_size_limits_the_bank(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    features = CountEncodings(bank_size=40)
    monkeypatch.setattr("ssl_zoo.training.run.CleanFeatures", lambda bank_size: features)
    train(make_config())
    assert features.lengths == [40, 30] * 2
