"""Images for the tests of data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.class_disjoint import NAMES
from helpers.trees import make_classes
from ssl_zoo.data.datasets import folder
from ssl_zoo.data.images import Splits


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    """20 classes, of which both train and test have images."""
    make_classes(tmp_path / "data" / "train", NAMES, per_class=4)
    test = make_classes(tmp_path / "data" / "test", NAMES, per_class=2)
    for path in test.rglob("*.png"):  # test images are marked as such
        pixels = np.array(Image.open(path))
        pixels[:, :, 1] += 100
        Image.fromarray(pixels).save(path)
    return folder(tmp_path / "data", cache_dir=tmp_path / "cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"
