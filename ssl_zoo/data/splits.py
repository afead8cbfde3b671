"""Splits of a data set: within each class, or between classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ssl_zoo.data.images import Images, Splits, pool
from ssl_zoo.hashing import SPLIT_STREAM, hash_int64
from ssl_zoo.types import UserError

Mode = Literal["hash", "contiguous"]
_FEWEST = 2  # classes that retrieval needs: with one, every answer is right
_MODES = ("hash", "contiguous")


class ClassSplit(NamedTuple):
    """Class ids, rising, of the parts of a class-disjoint split.

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
            sha256("<seed>:<name>"), so that classes added or renamed elsewhere move no others;
            unlike halves of the alphabet, its halves hold the same sorts of class.
        seed: Of "hash".
        test_fraction: Part of the classes, in (0, 1).
        num_folds: F; fewer where a fold would have less than two classes.

    Raises:
        UserError: An argument is out of range, or the classes are too few for two of test and two
            of validation.

    Source: Musgrave et al. 2020 (A Metric Learning Reality Check), sec. 3.2, and its code
    (MLRCSplitManager).
    """
    if mode not in _MODES:
        raise UserError(f"class split: mode={mode} is unknown; use one of {', '.join(_MODES)}")
    if not 0 < test_fraction < 1:
        raise UserError(f"class split: test_fraction={test_fraction}: give a number in (0, 1)")
    if num_folds < 1:
        raise UserError(f"class split: num_folds={num_folds}: give 1 or more")
    num_test = _floor(len(class_names) * test_fraction)
    num_trainval = len(class_names) - num_test
    if min(num_test, num_trainval) < _FEWEST:
        raise UserError(
            f"class split: test_fraction={test_fraction} of {len(class_names)} classes makes "
            f"{num_trainval} to choose on and {num_test} to test on, each must be {_FEWEST} or "
            "more: use data of more classes, or another test_fraction"
        )
    num_val = len(class_names) * (1 - test_fraction)
    num_folds = max(1, min(num_folds, _floor(num_val / _FEWEST)))
    size = max(_FEWEST, _floor(num_val / max(2, num_folds)))

    ids = _ordered(class_names, mode, seed)
    trainval, test = ids[:num_trainval], ids[num_trainval:]
    ends = [num_trainval * (p + num_folds) // num_folds for p in range(num_folds)]
    folds = [[trainval[i % num_trainval] for i in range(end - size, end)] for end in ends]
    return ClassSplit(sorted(trainval), sorted(test), [sorted(fold) for fold in folds])


def _floor(x: float) -> int:
    """Floor of a product that is a whole number but for rounding, such as 100 * 0.29."""
    return int(x + 1e-9)


def _ordered(class_names: Sequence[str], mode: str, seed: int) -> list[int]:
    """Class ids in order; classes of one name stay in the order of their ids."""
    keys = [
        hashlib.sha256(f"{seed}:{name}".encode()).hexdigest() if mode == "hash" else name
        for name in class_names
    ]
    return sorted(range(len(keys)), key=keys.__getitem__)


class ClassDisjoint(NamedTuple):
    """The parts of a data set, by class; training classes are numbered first, then val's, test's.

    Attributes:
        train: Images of the training classes, whichever split they came from.
        val: Of the fold's classes.
        test: Of the test classes; the same in every fold.
        class_names: By the new numbers.
        split: In the new numbers.
        num_train_classes: The training classes are 0 to this.
    """

    train: Images
    val: Images
    test: Images
    class_names: list[str]
    split: ClassSplit
    num_train_classes: int

    def summary(self) -> str:
        """Classes and images of each part, as one line."""
        num_val, num_test = len(self.split.trainval) - self.num_train_classes, len(self.split.test)
        parts = [
            f"{name} {count} classes of {len(images):,} images"
            for name, count, images in (
                ("train", self.num_train_classes, self.train),
                ("val", num_val, self.val),
                ("test", num_test, self.test),
            )
        ]
        return f"class-disjoint: {', '.join(parts)}"


def class_disjoint(splits: Splits, mode: Mode, seed: int = 0, fold: int = 0) -> ClassDisjoint:
    """Pool the labelled images of train and test, and part them by class.

    Args:
        splits: The data set as it comes.
        mode: See `make_class_split`.
        seed: Of the mode "hash".
        fold: Whose classes are val.

    Raises:
        UserError: If there are no labels, too few classes, no such mode or no such fold.

    Source: Musgrave et al. 2020 (A Metric Learning Reality Check), sec. 3.2.
    """
    if mode not in get_args(Mode):
        raise UserError(f"dataset.class_split={mode}: give hash, contiguous or null")
    if not splits.class_names:
        raise UserError(
            f"dataset.class_split={mode} needs labels, but these images have none: give each class "
            "a folder, or set dataset.class_split=null"
        )
    split = make_class_split(splits.class_names, mode, seed)
    if not 0 <= fold < len(split.folds):
        raise UserError(f"dataset.fold={fold}: this data has the folds 0 to {len(split.folds) - 1}")
    val = split.folds[fold]
    train = [label for label in split.trainval if label not in set(val)]
    order = torch.tensor([*train, *val, *split.test])
    new = order.argsort()

    images = splits.train if splits.test is None else pool(splits.train, splits.test)
    images = images.subset((images.labels >= 0).nonzero().flatten())
    images = replace(images, labels=new[images.labels])

    def part(first: int, last: int) -> Images:
        return images.subset(
            ((images.labels >= first) & (images.labels < last)).nonzero().flatten()
        )

    ends = len(train), len(split.trainval), len(order)
    return ClassDisjoint(
        part(0, ends[0]),
        part(ends[0], ends[1]),
        part(ends[1], ends[2]),
        [splits.class_names[label] for label in order.tolist()],
        ClassSplit(
            sorted(new[split.trainval].tolist()),
            sorted(new[split.test].tolist()),
            [sorted(new[ids].tolist()) for ids in split.folds],
        ),
        len(train),
    )


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Carve a validation split out of the labelled images.

    Args:
        labels: (N,) int64, -1 = unlabelled.
        fraction: Part of each class that is held out; at least one image of each class stays.
        seed: Of the draw, a function of (seed, index).

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
