"""Splits of a data set: within each class, or between classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_zoo.data.images import Images, Splits
from ssl_zoo.data.shared_classes import class_ids, share_no_class
from ssl_zoo.hashing import SPLIT_STREAM, hash_int64
from ssl_zoo.types import BadValue

Mode = Literal["hash", "contiguous"]
_FEWEST = 2  # classes that retrieval needs: with one, every answer is correct
_MODES = ("hash", "contiguous")


class ClassSplit(NamedTuple):
    """Class ids, ascending, of the parts of a class-disjoint split.

    Attributes:
        trainval: Classes to learn from and to choose on.
        test: All others.
        folds: The validation classes of each fold, disjoint parts of `trainval`; a fold trains on
            the rest of `trainval`.
    """

    trainval: list[int]
    test: list[int]
    folds: list[list[int]]


def make_class_split(
    class_names: Sequence[str],
    mode: Literal["hash", "contiguous"] = "hash",
    seed: int = 0,
    test_fraction: float = 0.5,
    num_folds: int = 4,
) -> ClassSplit:
    """Split classes into trainval and test, and trainval into folds of validation classes.

    Classes are put in order; the last int(N * test_fraction) are test. Each of F folds validates
    int(N * (1 - test_fraction) / F) classes, those before position int(p / F * |trainval|),
    wrapping round. A single fold validates half of trainval.

    Args:
        class_names: N names, by class id.
        mode: The order. "contiguous" sorts the names, as the paper does. "hash" sorts
            sha256("<seed>:<name>"), so that adding or renaming a class moves no others; unlike
            halves of the alphabet, its halves hold the same kinds of class.
        seed: For "hash".
        test_fraction: Part of the classes, in (0, 1).
        num_folds: F; fewer if a fold would have fewer than two classes.

    Raises:
        UserError: An argument is out of range, or there are too few classes for two of test and
            two of validation.

    Source: Musgrave et al. 2020 (A Metric Learning Reality Check), sec. 3.2, and its code
    (MLRCSplitManager).
    """
    if mode not in _MODES:
        raise BadValue("mode", mode, " or ".join(_MODES))
    if not 0 < test_fraction < 1:
        raise BadValue("test_fraction", test_fraction, "in (0, 1)")
    if num_folds < 1:
        raise BadValue("num_folds", num_folds, "at least 1")
    num_test = _floor(len(class_names) * test_fraction)
    num_trainval = len(class_names) - num_test
    if min(num_test, num_trainval) < _FEWEST:
        says = (
            f"of {len(class_names)} classes makes {num_trainval} to choose on and {num_test} to "
            f"test on, each must be {_FEWEST} or more: use data with more classes, or another"
        )
        raise BadValue("test_fraction", test_fraction, says=says)
    num_val = len(class_names) * (1 - test_fraction)
    ids = _ordered(class_names, mode, seed)
    trainval, test = ids[:num_trainval], ids[num_trainval:]
    return ClassSplit(sorted(trainval), sorted(test), _folds(trainval, num_val, num_folds))


def class_split_of(
    train: Images, val: Images, test: Images | None, class_names: Sequence[str], num_folds: int
) -> ClassSplit | None:
    """The class split that a data set comes with, as one that holds test's classes out.

    Val is the only fold if it has classes of its own; else folds are made of train's, in the order
    of their names.

    Args:
        train: Images to learn from.
        val: Images to choose on.
        test: Images to report on.
        class_names: Name of each label.
        num_folds: As `make_class_split` takes it.

    Returns:
        None if a class of test is also one of train or val, or there are too few classes.
    """
    known, own, held_out = class_ids(train), class_ids(val), class_ids(test)
    trainval = sorted({*known, *own})
    if min(len(trainval), len(held_out)) < _FEWEST or not set(trainval).isdisjoint(held_out):
        return None
    if len(own) >= _FEWEST and share_no_class(train, val):
        return ClassSplit(trainval, held_out, [own])
    ordered = sorted(trainval, key=lambda label: class_names[label])
    return ClassSplit(trainval, held_out, _folds(ordered, len(ordered), num_folds))


def _folds(trainval: list[int], num_val: float, num_folds: int) -> list[list[int]]:
    """Validation classes of each fold, of classes in order; `num_val` is their number unrounded."""
    num_folds = max(1, min(num_folds, _floor(num_val / _FEWEST)))
    size = max(_FEWEST, _floor(num_val / max(2, num_folds)))
    ends = [len(trainval) * (p + num_folds) // num_folds for p in range(num_folds)]
    folds = [[trainval[i % len(trainval)] for i in range(end - size, end)] for end in ends]
    return [sorted(fold) for fold in folds]


def _floor(x: float) -> int:
    """Floor of a product that would be whole without rounding, such as 100 * 0.29."""
    return int(x + 1e-9)


def _ordered(class_names: Sequence[str], mode: str, seed: int) -> list[int]:
    """Class ids in order; classes with the same name stay in the order of their ids."""
    keys = [
        hashlib.sha256(f"{seed}:{name}".encode()).hexdigest() if mode == "hash" else name
        for name in class_names
    ]
    return sorted(range(len(keys)), key=keys.__getitem__)


class Parts(NamedTuple):
    """A data set, split for training; train's classes come first in `class_names`.

    Attributes:
        train: Images to learn from.
        val: Images to choose on.
        test: Images to report on, None if the data set has none.
        class_names: Name of each label.
        class_split: The classes of train and val and of test; None if they were not split by class.
        num_train_classes: The training classes are 0 to this.
    """

    train: Images
    val: Images
    test: Images | None
    class_names: list[str]
    class_split: ClassSplit | None
    num_train_classes: int

    def summary(self) -> str:
        """Classes and images of each part of a class-disjoint split, as one line."""
        assert self.class_split is not None
        assert self.test is not None
        num_trainval, num_test = len(self.class_split.trainval), len(self.class_split.test)
        parts = [
            f"{name} {count} classes of {len(images):,} images"
            for name, count, images in (
                ("train", self.num_train_classes, self.train),
                ("val", num_trainval - self.num_train_classes, self.val),
                ("test", num_test, self.test),
            )
        ]
        return f"class-disjoint: {', '.join(parts)}"


def class_disjoint(splits: Splits, class_split: Mode, seed: int = 0, fold: int = 0) -> Parts:
    """Pool the labelled images of all splits, and split them by class.

    Training classes are numbered first, then those of val, then those of test, which are the same
    in every fold.

    Args:
        splits: The data set as it comes.
        class_split: The mode, see `make_class_split`.
        seed: For the mode "hash".
        fold: Whose classes are val.

    Raises:
        UserError: If there are no labels, too few classes, no such mode or no such fold.

    Source: Musgrave et al. 2020 (A Metric Learning Reality Check), sec. 3.2.
    """
    if class_split not in _MODES:
        raise BadValue("class_split", class_split, "hash, contiguous or null")
    if not splits.class_names:
        says = "needs labels, but these images have none: give each class a folder, or set it null"
        raise BadValue("class_split", class_split, says=says)
    split = make_class_split(splits.class_names, class_split, seed)
    if not 0 <= fold < len(split.folds):
        raise BadValue("fold", fold, f"in 0 to {len(split.folds) - 1}, the folds of this data")
    val = split.folds[fold]
    train = [label for label in split.trainval if label not in set(val)]
    if not train:
        says = (
            f"of {len(splits.class_names)} classes leaves none to train on: {len(split.test)} are "
            f"test, {len(val)} val: use data with more classes, or null"
        )
        raise BadValue("class_split", class_split, says=says)
    order = torch.tensor([*train, *val, *split.test])
    new = order.argsort()
    images = _labelled(splits)
    images = images.relabelled(new[images.labels])
    ends = len(train), len(split.trainval), len(order)
    return Parts(
        _between(images, 0, ends[0]),
        _between(images, ends[0], ends[1]),
        _between(images, ends[1], ends[2]),
        [splits.class_names[label] for label in order.tolist()],
        ClassSplit(
            sorted(new[split.trainval].tolist()),
            sorted(new[split.test].tolist()),
            [sorted(new[ids].tolist()) for ids in split.folds],
        ),
        len(train),
    )


def _labelled(splits: Splits) -> Images:
    """The labelled images of train and, after them, test and val."""
    images = splits.train
    for others in (splits.test, splits.val):
        images = images if others is None else images.pooled(others)
    return images.subset((images.labels >= 0).nonzero().flatten())


def _between(images: Images, first: int, last: int) -> Images:
    """The images of classes first to last, without last."""
    return images.subset(((images.labels >= first) & (images.labels < last)).nonzero().flatten())


def within_classes(splits: Splits, val_fraction: float, seed: int) -> Parts:
    """Hold val out of each class of train, unless there is one.

    Args:
        splits: The data set as it comes.
        val_fraction: Part of each class that is held out, if the data set has no val.
        seed: For the draw.
    """
    names, labels = list(splits.class_names), splits.train.labels
    num_train_classes = int(labels.max()) + 1 if len(labels) else 0  # others may be test's alone
    if splits.val is not None:
        return Parts(splits.train, splits.val, splits.test, names, None, num_train_classes)
    kept, held_out = stratified_split(splits.train.labels, val_fraction, seed)
    train, val = splits.train.subset(kept), splits.train.subset(held_out)
    return Parts(train, val, splits.test, names, None, num_train_classes)


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split the labelled images into train and val.

    Args:
        labels: (N,) int64, -1 = unlabelled.
        fraction: Part of each class that is held out; at least one image of each class stays.
        seed: For the draw, a function of (seed, index).

    Returns:
        Indices that train keeps, unlabelled ones among them, and indices held out; both sorted.
    """
    order = hash_int64(torch.arange(len(labels)), SPLIT_STREAM, seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        if label >= 0:
            rows = (labels == label).nonzero().flatten()
            count = min(max(1, round(fraction * len(rows))), len(rows) - 1) if fraction > 0 else 0
            held_out[rows[order[rows].argsort()[:count]]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()
