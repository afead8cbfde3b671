"""Which classes a model may learn from and which it is tested on: disjoint, by their names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ssl_zoo.types import UserError

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
