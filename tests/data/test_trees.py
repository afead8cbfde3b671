"""Finding image files, and the cache of decoded ones."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.pixels import noise, save
from ssl_zoo.data.listing import find_images
from ssl_zoo.data.trees import cache_stem, decode_tree, tree_of, write_array
from ssl_zoo.types import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_images_are_found_at_any_depth_in_any_case_without_hidden_ones(tmp_path: Path) -> None:
    kept = ["a.JPG", "b/c.Png", "b/d/e.jpeg", "b/f.webp", "g.bmp", "h.tif", "i.TIFF"]
    touch(tmp_path, *kept, "notes.txt", "b/x.gyf", ".a.jpg", ".git/y.png", "b/.z/w.png", "jpg")
    assert find_images(tmp_path).names == kept


def test_order_does_not_depend_on_the_order_of_creation(tmp_path: Path) -> None:
    names = [f"{a}/{b}.png" for a, b in itertools.product("xyz", ["1", "10", "2"])]
    expected = sorted(names)
    random.Random(3).shuffle(names)
    touch(tmp_path, *names)
    assert find_images(tmp_path).names == expected


def test_links_are_followed_and_cycles_end(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png", "tree/b.png")
    (tmp_path / "tree/linked").symlink_to(tmp_path / "real")
    (tmp_path / "tree/c.png").symlink_to(tmp_path / "real/a.png")
    (tmp_path / "tree/again").symlink_to(tmp_path / "tree")
    assert find_images(tmp_path / "tree").names == ["b.png", "c.png", "linked/a.png"]


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist"):
        find_images(tmp_path / "nowhere")
    touch(tmp_path, "a.jpg", "empty/readme.md")
    with pytest.raises(UserError, match=r"a\.jpg is not a folder"):
        find_images(tmp_path / "a.jpg")
    with pytest.raises(
        UserError, match=r"empty holds no image: .*jpg jpeg png webp bmp tif tiff.* 1 x \.md"
    ):
        find_images(tmp_path / "empty")


def test_cache_name_follows_every_path_size_and_time(tmp_path: Path) -> None:
    touch(tmp_path, "t/a.png", "t/b.png", "u/a.png", "u/b.png")

    def stem(root: str, *names: str) -> Path:
        return cache_stem(tmp_path / root, list(names), tmp_path)

    first = stem("t", "a.png", "b.png")
    assert stem("t", "a.png", "b.png") == first
    assert first.parent == tmp_path
    os.utime(tmp_path / "t/a.png", ns=(5, 5))
    os.utime(tmp_path / "t/b.png", ns=(5, 5))
    os.utime(tmp_path / "u/a.png", ns=(5, 5))
    os.utime(tmp_path / "u/b.png", ns=(5, 5))
    stems = [first, stem("t", "a.png", "b.png"), stem("t", "a.png"), stem("u", "a.png", "b.png")]
    (tmp_path / "t/b.png").write_bytes(b"x")
    os.utime(tmp_path / "t/b.png", ns=(5, 5))
    stems.append(stem("t", "a.png", "b.png"))
    assert len(set(stems)) == len(stems)


def test_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def parts() -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((3, 4, 4), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_array(tmp_path / "cache" / "a.npy", (2, 3, 4, 4), parts())
    assert list((tmp_path / "cache").iterdir()) == []


def test_unwritable_cache_is_an_error_that_names_the_knob(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    parts = iter([np.zeros((3, 4, 4), np.uint8)])
    with pytest.raises(UserError, match=r"cannot write .*cache_dir"):
        write_array(tmp_path / "file" / "a.npy", (1, 3, 4, 4), parts)


def test_decoding_a_tree_keeps_order_over_many_chunks(tmp_path: Path) -> None:
    pixels = noise(600, 2, 3, 3)
    for i, image in enumerate(pixels):
        save(tmp_path / f"{i:03d}.bmp", "RGB", image)
    tree = tree_of(tmp_path, find_images(tmp_path).names, tmp_path / "cache")
    array, broken = decode_tree(tree, (2, 3), num_threads=4)
    np.testing.assert_array_equal(array, pixels.transpose(0, 3, 1, 2))
    assert broken == {}
