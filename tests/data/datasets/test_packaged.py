"""The data sets that scikit-learn and torchvision hold."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets as torchvision_datasets

from helpers.files import rgb, write_tree
from helpers.images import everything, rows_of, tensors
from ssl_zoo.data import datasets
from ssl_zoo.data.images import FileImages
from ssl_zoo.types import UserError

DOWNLOADED = ["cifar10", "cifar100", "stl10"]

# ---- shapes and digits ----


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
    with pytest.raises(
        UserError, match=rf"root={tmp_path} holds no {name} .*data set folder"
    ) as error:
        getattr(datasets, name)(tmp_path, download=False)
    assert "\n" not in str(error.value)


def test_absent_imagenet_is_one_line_with_place_and_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"root={tmp_path} holds no imagenet .*data set folder"):
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


# ---- folder: files that do not decode ----


@pytest.mark.parametrize("name", DOWNLOADED)
def test_file_in_place_of_the_root_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(UserError, match=f"holds no {name}"):
        getattr(datasets, name)(tmp_path / "root", download=False)
