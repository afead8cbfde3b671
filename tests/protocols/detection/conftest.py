"""A detection data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.boxes import write_voc


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "voc")
