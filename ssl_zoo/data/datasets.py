"""The data sets: each function reads one and returns its train and test splits as uint8 images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_zoo.data import files
from ssl_zoo.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ssl_zoo.types import UserError

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR100_MEAN, CIFAR100_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)

_CACHE_DIR = "~/.cache/ssl_zoo"
_FIRST_TEST_SHAPE = 10**9  # above any training index: num_train does not move the test set
_SHOWN = 5  # names listed in an error line

_log = logging.getLogger("ssl_zoo")

T = TypeVar("T")


class TwoArrays:
    """Two arrays of images that are read as one, the second below the first; neither is copied.

    Args:
        first: (M1, 3, H, W) uint8; may be memory-mapped.
        second: (M2, 3, H, W) uint8, of the same H and W.
    """

    def __init__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
        self.first, self.second = first, second
        self.shape = (len(first) + len(second), *first.shape[1:])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copies rows (n,) to an array (n, 3, H, W)."""
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        below = rows >= len(self.first)
        out[~below] = self.first[rows[~below]]
        out[below] = self.second[rows[below] - len(self.first)]
        return out


@dataclass(frozen=True, eq=False)
class TensorImages:
    """Images that share one small size, in one array.

    Attributes:
        images: (M, 3, H, W) uint8; a numpy array may be memory-mapped.
        labels: (N,) int64, -1 = unlabelled.
        rows: (N,) int64, the array's row of each image; None when M = N and they stand in order.
        paths: The N files that they were decoded from; None where there are none.
    """

    images: NDArray[np.uint8] | Tensor | TwoArrays
    labels: Tensor
    rows: Tensor | None = None
    paths: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: Tensor) -> TensorImages:
        """The images at `index`, an int64 tensor; shares the array."""
        rows = index if self.rows is None else self.rows[index]
        paths = None if self.paths is None else [self.paths[i] for i in index.tolist()]
        return TensorImages(self.images, self.labels[index], rows, paths)

    def batch(self, index: Tensor) -> Tensor:
        """Copies the images at `index` (n,) int64 to a uint8 tensor (n, 3, H, W)."""
        rows = index if self.rows is None else self.rows[index]
        if isinstance(self.images, Tensor):
            return self.images[rows]
        return torch.from_numpy(self.images[rows.numpy()])


@dataclass(frozen=True, eq=False)
class FileImages:
    """Images of large or mixed sizes, decoded one by one when they are needed.

    Attributes:
        paths: N image files.
        labels: (N,) int64, -1 = unlabelled.
    """

    paths: list[str]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, index: Tensor) -> FileImages:
        """The images at `index`, an int64 tensor."""
        return FileImages([self.paths[i] for i in index.tolist()], self.labels[index])

    def load(self, i: int) -> Tensor:
        """Decodes image i to a uint8 tensor (3, H, W).

        Raises:
            UserError: The file does not decode; the line names it.
        """
        return torch.from_numpy(files.decode(self.paths[i])).permute(2, 0, 1).contiguous()


Images = TensorImages | FileImages


def pool(first: Images, second: Images) -> Images:
    """The images of both, the second's after the first's; no pixel is copied."""
    labels = torch.cat([first.labels, second.labels])
    if isinstance(first, FileImages) and isinstance(second, FileImages):
        return FileImages(first.paths + second.paths, labels)
    assert isinstance(first, TensorImages)
    assert isinstance(second, TensorImages)
    rows = [torch.arange(len(x)) if x.rows is None else x.rows for x in (first, second)]
    paths = None if first.paths is None or second.paths is None else first.paths + second.paths
    if first.images is second.images:
        return TensorImages(first.images, labels, torch.cat(rows), paths)
    arrays = TwoArrays(np.asarray(first.images), np.asarray(second.images))
    below = torch.cat([rows[0], rows[1] + first.images.shape[0]])
    return TensorImages(arrays, labels, below, paths)


class Splits(NamedTuple):
    """What a data set is made of.

    Attributes:
        train: Training images.
        test: Test images, None when the data set has none.
        class_names: Name of each label; empty when the images are unlabelled.
        mean: Of R, G, B in [0, 1] over train; None when it is not known beforehand.
        std: Likewise.
    """

    train: Images
    test: Images | None
    class_names: list[str]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


# ---- made here, nothing to download ----


def shapes(seed: int = 0, num_train: int = 10_000, num_test: int = 2_000) -> Splits:
    """Ten kinds of shape in random colours and poses, 32x32, drawn by the program.

    Raises:
        UserError: A count is below 1.
    """
    from ssl_zoo.data.shapes import SHAPE_NAMES, draw_shapes

    if min(num_train, num_test) < 1:
        raise UserError(
            f"shapes: num_train={num_train}, num_test={num_test}: give both as 1 or more"
        )
    train = draw_shapes(torch.arange(num_train), seed)
    test = draw_shapes(torch.arange(num_test) + _FIRST_TEST_SHAPE, seed)
    return Splits(TensorImages(*train), TensorImages(*test), list(SHAPE_NAMES))


def digits(test_fraction: float = 0.2) -> Splits:
    """scikit-learn's 1,797 handwritten digits, 8x8 gray, enlarged bilinearly to 32x32 RGB.

    The split is stratified and always the same.

    Raises:
        UserError: `test_fraction` leaves either split without one image per class.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if not 0.01 <= test_fraction <= 0.99:
        raise UserError(f"digits: test_fraction={test_fraction} is not between 0.01 and 0.99")
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


# ---- by way of torchvision ----


def _fetch(make: Callable[[], T], name: str, root: str | Path, place: str) -> T:
    """What `make` returns, or one line on where it looked and how to mend it."""
    try:
        return make()
    except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name} is not in {Path(root).expanduser().absolute()} ({reason}): "
            f"place {place} there, set dataset.root to where it is, "
            "or use dataset=folder for images of your own"
        ) from error


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


def stl10(root: str | Path, download: bool = True, cache_dir: str | Path = _CACHE_DIR) -> Splits:
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
    cache = files.cache_stem(binaries, names, cache_dir).with_suffix(".npy")
    if not cache.exists():
        # The files hold columns, not rows: the last two axes change places.
        parts = [
            np.memmap(binaries / name, np.uint8, "r").reshape(-1, 3, 96, 96).swapaxes(2, 3)
            for name in names
        ]
        count = sum(len(part) for part in parts)
        files.write_array(cache, (count, 3, 96, 96), (image for part in parts for image in part))
    array: NDArray[np.uint8] = np.load(cache, mmap_mode="r")
    return array


def imagenet(root: str | Path) -> Splits:
    """ImageNet 2012: 1.28 million training images; its 50,000 validation images serve as test.

    Not to be downloaded without an account: torchvision unpacks the archives it finds in `root`.

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


# ---- any tree of images ----


def folder(
    root: str | Path,
    on_error: Literal["stop", "skip"] = "stop",
    labelled: bool | Literal["auto"] = "auto",
    class_depth: int = 1,
    cache_dir: str | Path = _CACHE_DIR,
    cache_limit_gb: float = 8.0,
    skipped_list: str | None = None,
    num_threads: int | None = None,
) -> Splits:
    """A tree of images: `root/train` and `root/test` where they exist, else all of `root` as train.

    The folders directly below a split are its classes, at any depth below. Images that lie directly
    in the split, or fewer than two folders, make it unlabelled. With `class_depth` 2, classes are
    the folders two levels below, such as alphabet/character. Images that all have one size are
    decoded once into a memory-mapped cache; others are decoded when they are needed.

    Args:
        root: The folder.
        on_error: What to do about files that do not decode: "stop", or "skip" to leave them out.
        labelled: Whether folders are classes; "auto" looks.
        class_depth: How many folders below the split name the class; above 1, classes are a must.
        cache_dir: Where decoded images and the results of checks are kept.
        cache_limit_gb: Splits above this size together, in units of 1e9 bytes, are not cached.
        skipped_list: Where to write the files left out, one a line with its reason.
        num_threads: Decoding threads; None leaves it to Python.

    Raises:
        UserError: There is no such folder, no image, a class without images or in one split only,
            a file that does not decode (unless skipped), images above `class_depth`, or an unknown
            option.
    """
    if class_depth < 1:
        raise UserError(f"dataset.class_depth={class_depth}: give 1 or more")
    if class_depth > 1 and labelled is False:
        raise UserError(f"dataset.class_depth={class_depth} needs classes: remove labelled=false")
    if on_error not in ("stop", "skip"):
        raise UserError(f"dataset.on_error={on_error}: give stop or skip")
    if labelled not in (True, False, "auto"):
        raise UserError(f"dataset.labelled={labelled}: give auto, true or false")
    trees = _split_trees(Path(root).expanduser().absolute(), Path(cache_dir).expanduser())
    required = labelled is True or class_depth > 1
    class_names = [] if labelled is False else _shared_classes(trees, required, class_depth)
    headers = [files.scan_headers(tree, num_threads) for tree in trees]
    if on_error == "stop":
        _stop_at_broken(trees, [header.broken for header in headers])
    size = _tensor_size(trees, headers, cache_limit_gb)
    arrays: list[NDArray[np.uint8]] = []
    broken = [header.broken for header in headers]
    if size is not None:
        decoded = [files.decode_tree(tree, size, num_threads) for tree in trees]
        arrays, broken = [array for array, _ in decoded], [failures for _, failures in decoded]
    elif on_error == "skip":
        broken = [files.verify(tree, num_threads) for tree in trees]
    if on_error == "stop":
        _stop_at_broken(trees, broken)
    else:
        _report_skipped(trees, broken, skipped_list)
    splits: list[Images] = []
    for i, tree in enumerate(trees):
        images = _all_images(tree, class_names, class_depth, arrays[i] if arrays else None)
        splits.append(_without(images, tree, broken[i], class_names))
    return Splits(splits[0], splits[1] if len(splits) > 1 else None, class_names)


def _split_trees(root: Path, cache_dir: Path) -> list[files.Tree]:
    if (root / "train").is_dir():
        for name in ("val", "validation"):
            if (root / name).is_dir():
                _log.info("%s is not read: val figures come from a part of train", root / name)
        parts = [root / name for name in ("train", "test") if (root / name).is_dir()]
        return [files.read_tree(part, cache_dir) for part in parts]
    if (root / "test").is_dir():  # taking all of root would train on the test images
        raise UserError(f"{root} has a folder test but no folder train: add it, or rename test")
    return [files.read_tree(root, cache_dir)]


def _top(name: str, depth: int) -> str:
    """The first `depth` folders of a path, "" where it has fewer."""
    parts = name.split("/", depth)
    return "/".join(parts[:depth]) if len(parts) > depth else ""


def _class_folders(root: Path, depth: int) -> list[str]:
    """The folders `depth` levels below, and those above that hold none, sorted."""
    folders = files.subfolders(root)
    if depth == 1:
        return folders
    below = {name: _class_folders(root / name, depth - 1) for name in folders}
    return [f"{name}/{sub}" if sub else name for name in folders for sub in below[name] or [""]]


def _classes(tree: files.Tree, required: bool, depth: int) -> list[str]:
    """Names of a split's classes, sorted; empty when it is unlabelled."""
    folders = _class_folders(tree.root, depth)
    found = {_top(name, depth) for name in tree.names}
    if "" in found or len(folders) < 2:
        if required:
            _stop_at_no_classes(tree, folders, depth)
        return []
    _stop_at_empty(folders, found, tree.root, "images")
    return folders


def _stop_at_no_classes(tree: files.Tree, folders: list[str], depth: int) -> None:
    loose = sum(_top(name, depth) == "" for name in tree.names)
    if depth > 1:
        what = f"{loose} images above that" if loose else f"{len(folders)} of them"
        raise UserError(
            f"dataset.class_depth={depth} takes the folders {depth} levels below {tree.root} as "
            f"classes, at least two, but it has {what}: move them, or set dataset.class_depth=1"
        )
    what = f"{loose} images outside of folders" if loose else f"{len(folders)} folders"
    raise UserError(
        f"dataset.labelled=true but {tree.root} has {what}: give each class a folder, "
        "at least two, or set dataset.labelled=false"
    )


def _shared_classes(trees: list[files.Tree], required: bool, depth: int) -> list[str]:
    """The train split's classes, which must be those of the test split."""
    classes = [_classes(tree, required, depth) for tree in trees]
    for one, other in ((0, 1), (1, 0)) if len(trees) == 2 else ():
        missing = [name for name in classes[one] if name not in set(classes[other])]
        if missing:
            raise UserError(
                f"{trees[one].root} has classes that {trees[other].root} lacks: "
                f"{_listed(missing)}; give both the same class folders, "
                "or set dataset.labelled=false"
            )
    return classes[0]


def _stop_at_empty(class_names: list[str], found: set[str], root: Path, what: str) -> None:
    empty = [name for name in class_names if name not in found]
    if empty:
        raise UserError(
            f"class folders without {what} in {root}: {_listed(empty)}; "
            "fill or remove them, or set dataset.labelled=false"
        )


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _tensor_size(
    trees: list[files.Tree], headers: list[files.Headers], limit_gb: float
) -> tuple[int, int] | None:
    """(H, W) when every image of all splits has it and they fit the cache together, else None."""
    size = headers[0].size
    if size is None or any(header.size != size for header in headers):
        return None
    num_bytes = sum(len(tree.names) for tree in trees) * 3 * size[0] * size[1]
    return size if num_bytes / 1e9 <= limit_gb else None


def _stop_at_broken(trees: list[files.Tree], broken: list[dict[str, str]]) -> None:
    for tree, failures in zip(trees, broken, strict=True):
        for name, reason in failures.items():
            raise UserError(
                f"{tree.root / name} {reason}; {len(failures)} of the {len(tree.names)} images in "
                f"{tree.root} are broken: mend or remove them, or set dataset.on_error=skip"
            )


def _report_skipped(
    trees: list[files.Tree], broken: list[dict[str, str]], skipped_list: str | None
) -> None:
    lines = [
        f"{tree.root / name}\t{reason}\n"
        for tree, failures in zip(trees, broken, strict=True)
        for name, reason in failures.items()
    ]
    if skipped_list is not None:  # also when nothing was skipped, so that no old list stays behind
        path = Path(skipped_list).expanduser()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise UserError(f"dataset.skipped_list={path}: {error.strerror}") from error
    if lines:
        total = sum(len(tree.names) for tree in trees)
        where = f"; listed in {skipped_list}" if skipped_list is not None else ""
        _log.warning("left out %d of %d images that do not decode%s", len(lines), total, where)


def _all_images(
    tree: files.Tree, class_names: list[str], depth: int, array: NDArray[np.uint8] | None
) -> Images:
    ids = {name: label for label, name in enumerate(class_names)}
    labels = torch.tensor([ids.get(_top(name, depth), -1) for name in tree.names])
    paths = [str(tree.root / name) for name in tree.names]
    if array is not None:
        return TensorImages(array, labels, paths=paths)
    return FileImages(paths, labels)


def _without(
    images: Images, tree: files.Tree, broken: dict[str, str], class_names: list[str]
) -> Images:
    if not broken:
        return images
    kept = [i for i, name in enumerate(tree.names) if name not in broken]
    if not kept:
        raise UserError(f"none of the {len(tree.names)} images in {tree.root} decodes")
    left = images.subset(torch.tensor(kept))
    found = {class_names[label] for label in left.labels.unique().tolist() if label >= 0}
    _stop_at_empty(class_names, found, tree.root, "images that decode")
    return left
