"""Classes named by several levels of folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from helpers.class_disjoint import colours
from helpers.trees import make_classes
from ssl_zoo.data import Splits
from ssl_zoo.data.datasets import folder
from ssl_zoo.types import UserError

LETTERS = [f"{a}/{c}" for a in ("Greek", "Latin") for c in ("a", "b")]


def test_two_folders_make_a_class(tmp_path: Path) -> None:
    root = make_classes(tmp_path / "data", LETTERS)
    options = {"cache_dir": tmp_path / "cache"}
    shallow = folder(root, labelled=True, **options)  # type: ignore[arg-type]
    deep = folder(root, class_depth=2, **options)  # type: ignore[arg-type]
    assert shallow.class_names == ["Greek", "Latin"]
    assert deep.class_names == LETTERS
    assert deep.train.labels.tolist() == [c for c, _ in colours(deep.train)]
    assert shallow.train.labels.tolist() == [c // 2 for c, _ in colours(deep.train)]


def test_what_class_depth_cannot_do(tmp_path: Path) -> None:
    root = make_classes(tmp_path / "data", LETTERS)

    def opened(**options: object) -> Splits:
        return folder(root, cache_dir=tmp_path / "cache", **options)  # type: ignore[arg-type]

    with pytest.raises(UserError, match=r"^class_depth=0: must be at least 1$"):
        opened(class_depth=0)
    with pytest.raises(UserError, match=r"class_depth=2 needs classes: remove labelled=false$"):
        opened(class_depth=2, labelled=False)
    with pytest.raises(UserError, match=r"class_depth=3 takes .* has 16 images above that: move"):
        opened(class_depth=3)
    (root / "Korean").mkdir()
    with pytest.raises(UserError, match=r"class folders without images in .*: Korean;"):
        opened(class_depth=2)
    Image.new("RGB", (8, 8)).save(root / "Korean" / "loose.png")
    with pytest.raises(UserError, match=r"class_depth=2 takes .* has 1 images above that: move"):
        opened(class_depth=2)
