"""Class-disjoint data: nothing is tested, or chosen on, whose class was trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import torch

from ssl_zoo.data.class_split import ClassSplit, make_class_split
from ssl_zoo.data.datasets import Images, Splits, pool
from ssl_zoo.types import UserError

Mode = Literal["hash", "contiguous"]


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
