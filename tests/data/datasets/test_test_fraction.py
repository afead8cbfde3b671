"""A part of each class of a folder without a test split, held out as test."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.files import open_folder, write_tree
from ssl_zoo.data.images import Images
from ssl_zoo.data.splits import within_classes
from ssl_zoo.types import UserError

NAMES = [f"{kind}/{i}.png" for kind in ("a", "b") for i in range(10)]


def names(images: Images | None) -> set[str]:
    assert images is not None
    return set(images.places())


def test_a_part_of_each_class_is_test_and_never_trained_on(root: Path) -> None:
    write_tree(root, *NAMES)
    splits = open_folder(root, test_fraction=0.3)
    assert splits.test is not None
    assert splits.test.labels.bincount().tolist() == [3, 3]
    parts = within_classes(splits, 0.2, seed=0)
    assert [len(part or ()) for part in (parts.train, parts.val, parts.test)] == [12, 2, 6]
    every = [names(part) for part in (parts.train, parts.val, parts.test)]
    assert len(set.union(*every)) == sum(map(len, every)) == len(NAMES)


def test_test_is_the_same_whatever_the_split_of_val(root: Path) -> None:
    write_tree(root, *NAMES)
    first, again = (open_folder(root, test_fraction=0.3) for _ in range(2))
    assert names(first.test) == names(again.test)
    assert names(within_classes(again, 0.5, seed=7).test) == names(first.test)


def test_a_test_folder_is_test(root: Path) -> None:
    write_tree(root, *(f"train/{name}" for name in NAMES), "test/a/x.png", "test/b/x.png")
    splits = open_folder(root, test_fraction=0.3)
    assert [len(splits.train), len(splits.test or ())] == [20, 2]


@pytest.mark.parametrize(
    ("tree", "fraction", "says"),
    [
        (["1.png", "2.png", "3.png"], 0.2, "has no class folders"),
        (["a/1.png", "b/2.png"], 0.2, "two images or more"),
        (NAMES, 1.0, r"in \[0, 1\)"),
        (NAMES, -0.1, r"in \[0, 1\)"),
    ],
)
def test_what_cannot_be_held_out_is_said(
    root: Path, tree: list[str], fraction: float, says: str
) -> None:
    write_tree(root, *tree)
    with pytest.raises(UserError, match=f"test_fraction={fraction}.*{says}"):
        open_folder(root, test_fraction=fraction)
