"""One row: encoded once, whichever protocol asks, wherever its files go."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.protocols import small_candidate, small_net


class Counted(nn.Module):
    """Counts the images that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.shown = small_net(), 0

    def forward(self, images: Tensor) -> Tensor:
        self.shown += len(images)
        features: Tensor = self.net(images)
        return features


def test_copies_share_what_was_encoded() -> None:
    backbone: Any = Counted()
    candidate = small_candidate(backbone)
    assert (candidate.num_encoded, backbone.shown) == (0, 0)
    copy = replace(candidate, folder=Path("elsewhere"), figure_stem=Path("elsewhere/knn"))
    features = copy.features
    assert candidate.features is features
    assert (candidate.num_encoded, copy.num_encoded, backbone.shown) == (260, 260, 260)
    assert [len(split.label) for split in features] == [160, 40, 60]
    assert replace(copy, name="other").features is features
    fresh = small_candidate(backbone)
    assert torch.equal(fresh.features.test.representation, features.test.representation)
    assert backbone.shown == 520


def test_it_is_frozen() -> None:
    candidate = small_candidate()
    with pytest.raises(FrozenInstanceError):
        candidate.name = "other"  # type: ignore[misc]


def test_where_pictures_go(tmp_path: Path) -> None:
    assert small_candidate().figure("grid") is None
    candidate = small_candidate(figure_stem=tmp_path / "linear_digits")
    assert candidate.figure("grid") == tmp_path / "linear_digits_grid.png"
    other = replace(candidate, name="raw pixels", is_first=False)
    assert other.figure("grid") is None
    assert other.figure_of_row("confusion") == tmp_path / "linear_digits_confusion_raw_pixels.png"
    assert candidate.figure_of_row("confusion") == tmp_path / "linear_digits_confusion.png"
