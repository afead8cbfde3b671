"""A folder of images: splits, labels, its cache, and files that do not decode."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from helpers.files import open_folder, rgb, write_image, write_tree
from ssl_zoo.data.images import FileImages, Images, TensorImages
from ssl_zoo.types import UserError

# ---- folder: splits and labels ----


@pytest.mark.parametrize("mixed", [False, True])
def test_class_folders_give_labels_at_any_depth(root: Path, mixed: bool) -> None:
    names = ["train/dog/z.png", "train/cat/deep/er/a.png", "train/cat/b.png", "test/cat/c.png"]
    pixels = write_tree(root, *names, "test/dog/d.png", mixed=mixed)
    splits = open_folder(root)
    assert splits.test is not None
    assert isinstance(splits.train, FileImages if mixed else TensorImages)
    assert splits.class_names == ["cat", "dog"]
    assert splits.train.labels.tolist() == [0, 0, 1]
    assert splits.test.labels.tolist() == [0, 1]
    for i, name in enumerate(["cat/b.png", "cat/deep/er/a.png", "dog/z.png"]):
        np.testing.assert_array_equal(rgb(splits.train, i), pixels[f"train/{name}"])
    np.testing.assert_array_equal(rgb(splits.test, 1), pixels["test/dog/d.png"])


def test_without_split_folders_all_is_train(root: Path) -> None:
    write_tree(root, "b/1.png", "a/2.png", "a/3.png")
    splits = open_folder(root)
    assert splits.test is None
    assert splits.class_names == ["a", "b"]
    assert splits.train.labels.tolist() == [0, 0, 1]


def test_a_class_named_unlabeled_is_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tree(root, "cat/1.png", "dog/2.png", "Unlabeled/3.png")
    assert open_folder(root).class_names == ["Unlabeled", "cat", "dog"]
    assert f"{root / 'Unlabeled'} is taken as a class like the others" in caplog.text


def test_train_alone_has_no_test(root: Path) -> None:
    write_tree(root, "train/a/1.png", "train/b/2.png", "other/c.png")
    splits = open_folder(root)
    assert splits.test is None
    assert splits.class_names == ["a", "b"]


def test_test_alone_is_not_trained_on(root: Path) -> None:
    write_tree(root, "test/a/1.png", "test/b/2.png")
    with pytest.raises(UserError, match="folder test but no folder train"):
        open_folder(root)


@pytest.mark.parametrize(
    "names",
    [["1.png", "2.png"], ["only/1.png", "only/2.png"], ["a/1.png", "b/2.png", "3.png", "4.png"]],
)
def test_tree_without_class_folders_is_unlabelled(root: Path, names: list[str]) -> None:
    write_tree(root, *names)
    splits = open_folder(root)
    assert splits.class_names == []
    assert splits.train.labels.tolist() == [-1] * len(names)
    with pytest.raises(UserError, match=r"^labelled=true but .*data has"):
        open_folder(root, labelled=True)


def test_labels_can_be_ignored(root: Path) -> None:
    write_tree(root, "train/a/1.png", "train/b/2.png", "test/c/3.png")
    splits = open_folder(root, labelled=False)
    assert splits.test is not None
    assert splits.class_names == []
    assert splits.train.labels.tolist() == [-1, -1]
    assert splits.test.labels.tolist() == [-1]


def test_class_without_images_is_named(root: Path) -> None:
    write_tree(root, "a/1.png", "b/2.png")
    for name in ["c", "d", "e", "f", "g", "h", "i"]:
        (root / name).mkdir()
    (root / "c" / "notes.txt").touch()
    holds = r"c, d, e, f, g and 2 more \(they hold 1 x \.txt: not an image .*\); fill"
    with pytest.raises(UserError, match=rf"without images in .*data: {holds}"):
        open_folder(root)


@pytest.mark.parametrize(
    ("test", "names", "labels"),
    [
        (["a/1", "b/1"], "abc", [0, 1]),  # fewer
        (["c/1"], "abc", [2]),  # a single one
        (["c/deep/1", "c/deeper/2"], "abc", [2, 2]),
        (["a/1", "aa/1", "c/1", "d/1"], ["a", "b", "c", "aa", "d"], [0, 3, 2, 4]),  # others too
        (["x/1", "y/1"], "abcxy", [3, 4]),  # others only
        (["images/1", "images/2"], "abc", [-1, -1]),  # unlabelled
        (["1", "2", "a/1", "b/1"], "abc", [-1] * 4),  # mostly outside of folders
        (["test/a/1", "test/d/1"], "abcd", [0, 3]),  # in a folder more
    ],
)
def test_test_may_have_other_classes(
    root: Path, test: list[str], names: str | list[str], labels: list[int]
) -> None:
    write_tree(root, "train/a/1.png", "train/b/2.png", "train/c/3.png")
    write_tree(root, *(f"test/{name}.png" for name in test))
    (root / "test" / "b").mkdir(exist_ok=True)  # which an empty folder does not change
    splits = open_folder(root)
    assert splits.test is not None
    assert splits.class_names == list(names)
    assert splits.train.labels.tolist() == [0, 1, 2]
    assert sorted(splits.test.labels.tolist()) == sorted(labels)
    for label, place in zip(splits.test.labels.tolist(), splits.test.places(), strict=True):
        assert label < 0 or f"/{splits.class_names[label]}/" in place


def test_a_test_split_of_an_unlabelled_train_keeps_its_labels(root: Path) -> None:
    write_tree(root, "train/b/1.png", "train/2.png", "train/3.png", "test/a/1.png", "test/b/2.png")
    write_tree(root, "val/1.png", "val/2.png")
    splits = open_folder(root)
    assert splits.test is not None
    assert splits.val is not None
    assert splits.class_names == ["a", "b"]
    assert splits.train.labels.tolist() == [-1, -1, -1]
    assert splits.test.labels.tolist() == [0, 1]
    assert splits.val.labels.tolist() == [-1, -1]


def test_labels_that_are_required_are_required_of_test(root: Path) -> None:
    write_tree(root, "train/a/1.png", "train/b/2.png", "test/images/1.png", "test/images/2.png")
    with pytest.raises(UserError, match=r"^labelled=true but .*data/test has 1 folders: give each"):
        open_folder(root, labelled=True)
    write_tree(root, "test/b/1.png")
    splits = open_folder(root, labelled=True)
    assert splits.class_names == ["a", "b", "images"]


def test_missing_root_and_unknown_options_are_named(root: Path) -> None:
    with pytest.raises(UserError, match="data does not exist"):
        open_folder(root)
    with pytest.raises(UserError, match=r"^on_error=ignore: must be stop or skip$"):
        open_folder(root, on_error="ignore")
    with pytest.raises(UserError, match=r"^labelled=maybe: must be auto, true or false$"):
        open_folder(root, labelled="maybe")


# ---- folder: the cache ----


def test_second_opening_reads_the_cache_and_no_image(root: Path) -> None:
    pixels = write_tree(root, "train/a.png", "test/b.png")
    open_folder(root)
    for path in root.rglob("*.png"):  # same size and time, so nothing tells that they changed
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    splits = open_folder(root)
    assert splits.test is not None
    np.testing.assert_array_equal(rgb(splits.train, 0), pixels["train/a.png"])
    np.testing.assert_array_equal(rgb(splits.test, 0), pixels["test/b.png"])


def test_changed_image_is_decoded_anew(root: Path) -> None:
    write_tree(root, "a.png", "b.png")
    open_folder(root)
    changed = write_image(root / "b.png", seed=77)
    os.utime(root / "b.png", ns=(5, 5))
    np.testing.assert_array_equal(rgb(open_folder(root).train, 1), changed)


def test_array_without_its_record_is_built_anew(root: Path) -> None:
    pixels = write_tree(root, "a.png", "b.png")
    open_folder(root)
    (record,) = (root.parent / "cache").glob("*.decoded.json")
    record.unlink()
    (array,) = (root.parent / "cache").glob("*.npy")
    array.write_bytes(b"half")
    np.testing.assert_array_equal(rgb(open_folder(root).train, 1), pixels["b.png"])


def test_splits_agree_on_how_images_are_kept(root: Path) -> None:
    write_tree(root, "train/a.png", "train/b.png")
    write_tree(root, "test/a.png", "test/b.png", mixed=True)
    splits = open_folder(root)
    assert isinstance(splits.train, FileImages)
    assert isinstance(splits.test, FileImages)


def test_size_is_compared_after_turning(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    root.mkdir()
    Image.new("RGB", (4, 6)).save(root / "a.png")
    Image.new("RGB", (6, 4)).save(root / "b.png", exif=exif)
    train = open_folder(root).train
    assert isinstance(train, TensorImages)
    assert train.batch(torch.arange(2)).shape == (2, 3, 6, 4)


def test_cache_limit_counts_both_splits(root: Path) -> None:
    write_tree(root, "train/a.png", "test/b.png")
    num_bytes = 2 * 3 * 4 * 5
    assert isinstance(open_folder(root, cache_limit_gb=num_bytes / 1e9).train, TensorImages)
    assert isinstance(open_folder(root, cache_limit_gb=(num_bytes - 1) / 1e9).train, FileImages)


# ---- folder: files that do not decode ----


def cut(path: Path) -> None:
    """Keep the header and lose the pixels."""
    path.write_bytes(path.read_bytes()[:60])


def labels_of(images: Images) -> list[int]:
    labels: Tensor = images.labels
    assert len(labels) == len(images)
    return labels.tolist()


def test_broken_image_stops_at_start_up_with_its_path(root: Path) -> None:
    write_tree(root, "a.png", "b.png", "c.png")
    cut(root / "b.png")
    for _ in range(2):  # also when the cache knows
        with pytest.raises(UserError, match=r"data/b\.png does not decode.* 1 of the 3 images"):
            open_folder(root)


def test_broken_header_stops_at_start_up_with_its_path(root: Path) -> None:
    write_tree(root, "a.png", "b.png", mixed=True)
    (root / "c.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"data/c\.png does not open.* 1 of the 3 images"):
        open_folder(root)


def test_broken_pixels_of_large_images_stop_at_their_batch(root: Path) -> None:
    write_tree(root, "a.png", "b.png", "c.png", mixed=True)
    cut(root / "b.png")
    images = open_folder(root).train
    assert isinstance(images, FileImages)
    with pytest.raises(UserError, match=r"data/b\.png does not decode"):
        images.load(1)


@pytest.mark.parametrize("mixed", [False, True])
def test_broken_images_are_left_out_and_listed(
    root: Path, caplog: pytest.LogCaptureFixture, mixed: bool
) -> None:
    names = ["train/a/1.png", "train/a/2.png", "train/b/3.png", "train/b/4.png"]
    pixels = write_tree(root, *names, "test/a/5.png", "test/a/6.png", "test/b/7.png", mixed=mixed)
    cut(root / "train/a/2.png")
    (root / "train/b/3.png").write_bytes(b"nothing")
    (root / "test/a/6.png").unlink()
    (root / "test/a/6.png").symlink_to(root / "gone.png")
    listing = root.parent / "out" / "skipped.txt"
    for _ in range(2):  # decodes, then reads the cache
        caplog.clear()
        listing.unlink(missing_ok=True)
        with caplog.at_level(logging.WARNING, logger="ssl_zoo"):
            splits = open_folder(root, on_error="skip", skipped_list=str(listing))
        assert splits.test is not None
        assert isinstance(splits.train, FileImages if mixed else TensorImages)
        assert labels_of(splits.train) == [0, 1]
        assert labels_of(splits.test) == [0, 1]
        assert splits.train.left_out.keys() <= {"does not decode", "does not open"}
        assert sum(splits.train.left_out.values()) == 2
        np.testing.assert_array_equal(rgb(splits.train, 0), pixels["train/a/1.png"])
        np.testing.assert_array_equal(rgb(splits.train, 1), pixels["train/b/4.png"])
        np.testing.assert_array_equal(rgb(splits.test, 1), pixels["test/b/7.png"])
        (message,) = caplog.messages
        assert message.startswith("left out 3 of 7 images that cannot be read, such as ")
        listed = [line.split("\t")[0] for line in listing.read_text().splitlines()]
        assert listed == [str(root / n) for n in ("train/a/2.png", "train/b/3.png", "test/a/6.png")]


def test_failed_image_that_works_now_is_taken_back(root: Path) -> None:
    """A file that could not be read is tried again: its rights are not part of the cache's name."""
    write_tree(root, "a.png", "b.png")
    good = (root / "b.png").read_bytes()
    status = (root / "b.png").stat()
    for content, count in ((bytes(len(good)), 1), (good, 2)):
        (root / "b.png").write_bytes(content)
        os.utime(root / "b.png", ns=(status.st_atime_ns, status.st_mtime_ns))
        assert len(open_folder(root, on_error="skip").train) == count


def test_old_list_of_skipped_files_is_emptied(root: Path) -> None:
    write_tree(root, "a.png", "b.png")
    listing = root.parent / "skipped.txt"
    listing.write_text("old")
    open_folder(root, on_error="skip", skipped_list=str(listing))
    assert listing.read_text() == ""


def test_nothing_left_after_skipping_is_an_error(root: Path) -> None:
    write_tree(root, "a/1.png", "b/2.png")
    cut(root / "b/2.png")
    with pytest.raises(UserError, match=r"class folders without images that decode in .*: b;"):
        open_folder(root, on_error="skip")
    cut(root / "a/1.png")
    with pytest.raises(UserError, match=r"none of the 2 images in .*data decodes"):
        open_folder(root, on_error="skip")
