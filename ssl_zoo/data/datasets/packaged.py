"""Data sets from libraries: scikit-learn's digits, and torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_zoo.data.images import FileImages, Splits, TensorImages
from ssl_zoo.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ssl_zoo.data.trees import CACHE_DIR, cache_stem, write_array
from ssl_zoo.types import BadValue

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


CIFAR100_MEAN, CIFAR100_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)


T = TypeVar("T")


def digits(test_fraction: float = 0.2) -> Splits:
    """scikit-learn's 1,797 handwritten digits, 8x8 gray, enlarged bilinearly to 32x32 RGB.

    The split is stratified and always the same.

    Raises:
        UserError: `test_fraction` leaves either split without one image per class.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if not 0.01 <= test_fraction <= 0.99:
        raise BadValue("test_fraction", test_fraction, "in [0.01, 0.99]")
    data = load_digits()
    gray = torch.from_numpy(data.images)[:, None] * (255 / 16)  # values are 0 to 16
    large = torch.nn.functional.interpolate(gray, size=(32, 32), mode="bilinear")
    labels = torch.from_numpy(data.target).long()
    everything = TensorImages(large.round().to(torch.uint8).repeat(1, 3, 1, 1), labels)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_fraction, stratify=data.target, random_state=0
    )
    return Splits(
        everything.subset(torch.from_numpy(train)),
        everything.subset(torch.from_numpy(test)),
        [str(name) for name in data.target_names],
    )


def _fetch(make: Callable[[], T], name: str, root: str | Path, place: str) -> T:
    """What `make` returns, or a one-line error that says where it looked and how to fix it."""
    try:
        return make()
    except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError
        reason = " ".join(str(error).split())
        says = (
            f"holds no {name} ({reason}): place {place} there, give the folder where it is, or use "
            "the data set folder for images of your own"
        )
        raise BadValue("root", Path(root).expanduser().absolute(), says=says) from error


def _cifar(name: str, root: str | Path, download: bool, place: str) -> tuple[Any, Any]:
    from torchvision import datasets

    make = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder = Path(root).expanduser()
    train = _fetch(lambda: make(folder, train=True, download=download), name, root, place)
    test = _fetch(lambda: make(folder, train=False, download=False), name, root, place)
    return train, test


def _from_cifar(data: Any) -> TensorImages:
    images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return TensorImages(images, torch.tensor(data.targets))


def cifar10(root: str | Path, download: bool = True) -> Splits:
    """CIFAR-10: 50,000 and 10,000 images of 32x32 in 10 classes (Krizhevsky 2009).

    Raises:
        UserError: The data set is not in `root` and cannot be downloaded.
    """
    train, test = _cifar("cifar10", root, download, "the folder cifar-10-batches-py")
    return Splits(
        _from_cifar(train), _from_cifar(test), list(train.classes), CIFAR10_MEAN, CIFAR10_STD
    )


def cifar100(root: str | Path, download: bool = True) -> Splits:
    """CIFAR-100: 50,000 and 10,000 images of 32x32 in 100 classes (Krizhevsky 2009).

    Raises:
        UserError: The data set is not in `root` and cannot be downloaded.
    """
    train, test = _cifar("cifar100", root, download, "the folder cifar-100-python")
    return Splits(
        _from_cifar(train), _from_cifar(test), list(train.classes), CIFAR100_MEAN, CIFAR100_STD
    )


def stl10(root: str | Path, download: bool = True, cache_dir: str | Path = CACHE_DIR) -> Splits:
    """STL-10, 96x96, 10 classes (Coates et al. 2011).

    Train is the 5,000 labelled images and then the 100,000 unlabelled ones, label -1, mapped from
    one file of 2.9 GB in `cache_dir` that is built once; test is 8,000 images.

    Raises:
        UserError: The data set is not in `root` and cannot be downloaded.
    """
    from torchvision import datasets

    folder = Path(root).expanduser()
    # Opening the smallest split makes torchvision check all files.
    test = _fetch(
        lambda: datasets.STL10(folder, split="test", download=download),
        "stl10",
        root,
        "the folder stl10_binary",
    )
    binaries = folder / "stl10_binary"
    labelled = np.fromfile(binaries / "train_y.bin", np.uint8).astype(np.int64) - 1
    images = _stl10_train(binaries, Path(cache_dir).expanduser())
    labels = np.full(len(images), -1)
    labels[: len(labelled)] = labelled
    return Splits(
        TensorImages(images, torch.from_numpy(labels)),
        TensorImages(np.ascontiguousarray(test.data), torch.from_numpy(test.labels).long()),
        list(test.classes),
    )


def _stl10_train(binaries: Path, cache_dir: Path) -> NDArray[np.uint8]:
    names = ["train_X.bin", "unlabeled_X.bin"]
    cache = cache_stem(binaries, names, cache_dir).with_suffix(".npy")
    if not cache.exists():
        # The files hold columns, not rows: the last two axes are swapped.
        parts = [
            np.memmap(binaries / name, np.uint8, "r").reshape(-1, 3, 96, 96).swapaxes(2, 3)
            for name in names
        ]
        count = sum(len(part) for part in parts)
        write_array(cache, (count, 3, 96, 96), (image for part in parts for image in part))
    array: NDArray[np.uint8] = np.load(cache, mmap_mode="r")
    return array


def imagenet(root: str | Path) -> Splits:
    """ImageNet 2012: 1.28 million training images; its 50,000 validation images serve as test.

    Downloading needs an account: torchvision unpacks the archives that it finds in `root`.

    Raises:
        UserError: The archives or the folders made from them are not in `root`.
    """
    from torchvision import datasets

    folder = Path(root).expanduser()
    place = "ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar"
    train = _fetch(lambda: datasets.ImageNet(folder, split="train"), "imagenet", root, place)
    test = _fetch(lambda: datasets.ImageNet(folder, split="val"), "imagenet", root, place)
    return Splits(
        _from_samples(train.samples),
        _from_samples(test.samples),
        [synonyms[0] for synonyms in train.classes],
        IMAGENET_MEAN,
        IMAGENET_STD,
    )


def _from_samples(samples: Sequence[tuple[str, int]]) -> FileImages:
    return FileImages([path for path, _ in samples], torch.tensor([label for _, label in samples]))
