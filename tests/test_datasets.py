"""The data sets: which images, which labels, and one clear line for whatever is wrong with them."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import datasets as torchvision_datasets

from ssl_zoo.data import datasets
from ssl_zoo.data.datasets import FileImages, Images, Splits, TensorImages
from ssl_zoo.types import UserError

DOWNLOADED = ["cifar10", "cifar100", "stl10"]


def write_image(path: Path, seed: int, size: tuple[int, int] = (4, 5)) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def write_tree(root: Path, *names: str, mixed: bool = False) -> dict[str, NDArray[np.uint8]]:
    return {
        name: write_image(root / name, i, (4 + i if mixed else 4, 5))
        for i, name in enumerate(names)
    }


def rgb(images: Images, i: int) -> NDArray[np.uint8]:
    chw = images.load(i) if isinstance(images, FileImages) else images.batch(torch.tensor([i]))[0]
    assert chw.dtype == torch.uint8
    return chw.permute(1, 2, 0).numpy()


def open_folder(root: Path, **options: Any) -> Splits:
    return datasets.folder(root, cache_dir=root.parent / "cache", num_threads=2, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


# ---- the two kinds of images ----


@pytest.mark.parametrize("as_tensor", [True, False])
def test_subset_of_a_subset_picks_rows_and_labels(as_tensor: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4)).astype(np.uint8)
    images = TensorImages(torch.from_numpy(array) if as_tensor else array, torch.arange(9) * 10)
    part = images.subset(torch.tensor([8, 2, 5, 7])).subset(torch.tensor([3, 0, 3]))
    assert len(part) == 3
    assert part.images is images.images
    assert part.labels.tolist() == [70, 80, 70]
    assert part.batch(torch.tensor([1, 2])).equal(torch.from_numpy(array[[8, 7]]))


def test_batch_is_a_copy_that_may_be_written_to(root: Path) -> None:
    pixels = write_tree(root, "a.png", "b.png")
    images = open_folder(root).train
    assert isinstance(images, TensorImages)
    images.batch(torch.tensor([0, 1])).zero_()
    np.testing.assert_array_equal(rgb(images, 0), pixels["a.png"])


def test_file_images_subset_and_load(root: Path) -> None:
    pixels = write_tree(root, "a.png", "b.png", "c.png", mixed=True)
    images = open_folder(root).train
    assert isinstance(images, FileImages)
    part = images.subset(torch.tensor([2, 0]))
    assert len(part) == 2
    np.testing.assert_array_equal(rgb(part, 0), pixels["c.png"])
    np.testing.assert_array_equal(rgb(part, 1), pixels["a.png"])


# ---- shapes and digits ----


def tensors(images: Images | None) -> TensorImages:
    assert isinstance(images, TensorImages)
    return images


def rows_of(images: Images | None) -> Tensor:
    rows = tensors(images).rows
    assert rows is not None
    return rows


def everything(images: Images | None) -> Tensor:
    return tensors(images).batch(torch.arange(len(tensors(images))))


def test_shapes_test_set_does_not_depend_on_the_training_set() -> None:
    small, large = datasets.shapes(0, 20, 30), datasets.shapes(0, 40, 30)
    assert everything(small.train).shape == (20, 3, 32, 32)
    assert everything(small.train).equal(everything(large.train)[:20])
    assert everything(small.test).equal(everything(large.test))
    assert not everything(small.test)[:20].equal(everything(small.train))
    assert set(small.train.labels.tolist()) == set(range(len(small.class_names)))


def test_shapes_refuses_an_empty_split() -> None:
    with pytest.raises(UserError, match="num_test=0"):
        datasets.shapes(num_test=0)


def test_digits_are_scikit_learns_enlarged() -> None:
    from sklearn.datasets import load_digits

    data, splits = load_digits(), datasets.digits()
    train, test = tensors(splits.train), tensors(splits.test)
    rows = torch.cat([rows_of(train), rows_of(test)])
    assert rows.sort().values.equal(torch.arange(1797))
    np.testing.assert_array_equal(torch.cat([train.labels, test.labels]), data.target[rows])
    for i in range(0, 1400, 350):
        scan = Image.fromarray(data.images[rows[i]].astype(np.float32) * 255 / 16)
        expected = np.asarray(scan.resize((32, 32), Image.Resampling.BILINEAR))
        for channel in rgb(splits.train, i).transpose(2, 0, 1):
            np.testing.assert_allclose(channel, expected, atol=0.51)


def test_digits_split_is_stratified_and_fixed() -> None:
    one, two = datasets.digits(0.25), datasets.digits(0.25)
    assert rows_of(one.test).equal(rows_of(two.test))
    assert len(rows_of(one.test)) == 450
    test, train = tensors(one.test).labels.bincount(), one.train.labels.bincount()
    share = test / (test + train)
    assert (share - 0.25).abs().max() < 0.01
    with pytest.raises(UserError, match=r"test_fraction=1\.0"):
        datasets.digits(1.0)


# ---- torchvision's ----


@pytest.mark.parametrize("name", DOWNLOADED)
def test_absent_data_set_is_one_line_with_place_and_mend(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} is not in {tmp_path} .*dataset=folder") as error:
        getattr(datasets, name)(tmp_path, download=False)
    assert "\n" not in str(error.value)


def test_absent_imagenet_is_one_line_with_place_and_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"imagenet is not in {tmp_path} .*dataset=folder"):
        datasets.imagenet(tmp_path)


def write_pickle(folder: Path, name: str, content: dict[str, object]) -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(content))
    return [name, md5(folder / name)]


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "labels_key", "names_key"),
    [("cifar10", "labels", "label_names"), ("cifar100", "fine_labels", "fine_label_names")],
)
def test_cifar_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, labels_key: str, names_key: str
) -> None:
    source = getattr(torchvision_datasets, name.upper())
    folder = tmp_path / source.base_folder
    rows = np.random.default_rng(0).integers(0, 256, (5, 3072)).astype(np.uint8)
    train = write_pickle(folder, "train", {"data": rows[:3], labels_key: [1, 0, 1]})
    test = write_pickle(folder, "test", {"data": rows[3:], labels_key: [0, 1]})
    meta = write_pickle(folder, "meta", {names_key: ["cat", "dog"]})
    # torchvision checks the files against sums that only the real ones have.
    monkeypatch.setattr(source, "train_list", [train])
    monkeypatch.setattr(source, "test_list", [test])
    monkeypatch.setattr(source, "meta", {"filename": "meta", "key": names_key, "md5": meta[1]})
    splits = getattr(datasets, name)(tmp_path, download=False)
    # The format: 1024 bytes of red, then green, then blue, each row by row.
    expected = torch.from_numpy(rows.reshape(5, 3, 32, 32))
    assert everything(splits.train).equal(expected[:3])
    assert everything(splits.test).equal(expected[3:])
    assert splits.train.labels.tolist() == [1, 0, 1]
    assert splits.test.labels.tolist() == [0, 1]
    assert splits.train.labels.dtype == torch.int64
    assert splits.class_names == ["cat", "dog"]


def test_stl10_joins_labelled_and_unlabelled_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (7, 3, 96, 96)).astype(np.uint8)

    def write(name: str, content: NDArray[np.uint8]) -> list[str]:
        content.tofile(folder / name)
        return [name, md5(folder / name)]

    def columns(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(images.transpose(0, 1, 3, 2))  # stored column by column

    train = [
        write("train_X.bin", columns(pixels[:2])),
        write("train_y.bin", np.array([10, 1], np.uint8)),  # classes count from 1
        write("unlabeled_X.bin", columns(pixels[2:5])),
    ]
    test = [
        write("test_X.bin", columns(pixels[5:])),
        write("test_y.bin", np.array([2, 3], np.uint8)),
    ]
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    monkeypatch.setattr(torchvision_datasets.STL10, "train_list", train)
    monkeypatch.setattr(torchvision_datasets.STL10, "test_list", test)
    for _ in range(2):  # builds the cache, then reads it
        splits = datasets.stl10(tmp_path, download=False, cache_dir=tmp_path / "cache")
        assert splits.train.labels.tolist() == [9, 0, -1, -1, -1]
        assert everything(splits.train).equal(torch.from_numpy(pixels[:5]))
        assert tensors(splits.test).labels.tolist() == [1, 2]
        assert everything(splits.test).equal(torch.from_numpy(pixels[5:]))
        assert splits.class_names == ["airplane", "bird"]


def test_imagenet_folders_are_read(tmp_path: Path) -> None:
    names = {"n01": ("tench", "Tinca tinca"), "n02": ("hen",)}
    torch.save((names, []), tmp_path / "meta.bin")
    write_tree(tmp_path, "train/n01/a.JPEG", "train/n02/b.JPEG", "val/n02/c.JPEG", "val/n01/d.JPEG")
    splits = datasets.imagenet(tmp_path)
    assert isinstance(splits.test, FileImages)
    assert splits.class_names == ["tench", "hen"]
    assert splits.train.labels.tolist() == [0, 1]
    assert [Path(path).name for path in splits.test.paths] == ["d.JPEG", "c.JPEG"]
    assert isinstance(splits.train, FileImages)
    assert splits.train.load(1).shape == (3, 4, 5)


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
    [["1.png", "2.png"], ["only/1.png", "only/2.png"], ["a/1.png", "b/2.png", "loose.png"]],
)
def test_tree_without_class_folders_is_unlabelled(root: Path, names: list[str]) -> None:
    write_tree(root, *names)
    splits = open_folder(root)
    assert splits.class_names == []
    assert splits.train.labels.tolist() == [-1] * len(names)
    with pytest.raises(UserError, match=r"dataset\.labelled=true but .*data has"):
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
    with pytest.raises(UserError, match=r"without images in .*data: c, d, e, f, g and 2 more;"):
        open_folder(root)


def test_classes_that_only_one_split_has_are_named(root: Path) -> None:
    write_tree(root, "train/a/1.png", "train/b/2.png", "train/c/3.png")
    write_tree(root, "test/a/1.png", "test/b/2.png")
    with pytest.raises(UserError, match=r"data/train has classes that .*data/test lacks: c;"):
        open_folder(root)
    write_tree(root, "test/c/1.png", "test/d/2.png")
    with pytest.raises(UserError, match=r"data/test has classes that .*data/train lacks: d;"):
        open_folder(root)


def test_missing_root_and_unknown_options_are_named(root: Path) -> None:
    with pytest.raises(UserError, match="data does not exist"):
        open_folder(root)
    with pytest.raises(UserError, match=r"dataset\.on_error=ignore"):
        open_folder(root, on_error="ignore")
    with pytest.raises(UserError, match=r"dataset\.labelled=maybe"):
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
        np.testing.assert_array_equal(rgb(splits.train, 0), pixels["train/a/1.png"])
        np.testing.assert_array_equal(rgb(splits.train, 1), pixels["train/b/4.png"])
        np.testing.assert_array_equal(rgb(splits.test, 1), pixels["test/b/7.png"])
        (message,) = caplog.messages
        assert message.startswith("left out 3 of 7 images that do not decode")
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


@pytest.mark.parametrize("name", DOWNLOADED)
def test_file_in_place_of_the_root_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(UserError, match=f"{name} is not in"):
        getattr(datasets, name)(tmp_path / "root", download=False)
