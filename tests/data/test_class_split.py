"""Class-disjoint splits: what the paper's data sets give, and properties of random ones."""

from __future__ import annotations

import hashlib
import random

import pytest

from ssl_zoo.data.splits import ClassSplit, make_class_split
from ssl_zoo.types import UserError


def names(count: int) -> list[str]:
    return [f"{i:05d}" for i in range(count)]


def musgrave(count: int) -> ClassSplit:
    """The published rule, step by step: of an even number of classes, 4 folds, half test."""
    num_test, num_val = int(count / 2), int(count / 8)
    num_train = count - num_test - num_val
    trainval = list(range(count))[:num_test]
    folds = []
    for partition in range(4):
        start = int((partition / 4) * len(trainval))
        wrapped = [trainval[(start + i) % len(trainval)] for i in range(len(trainval))]
        assert len(wrapped) == num_train + num_val
        folds.append(sorted(wrapped[num_train:]))
    return ClassSplit(trainval, list(range(count))[num_test:], folds)


@pytest.mark.parametrize(
    ("count", "num_test", "num_train", "num_val"),
    [(200, 100, 75, 25), (196, 98, 74, 24), (22_634, 11_317, 8_488, 2_829)],
    ids=["CUB", "Cars", "SOP"],
)
def test_the_papers_sizes(count: int, num_test: int, num_train: int, num_val: int) -> None:
    split = make_class_split(names(count), "contiguous")
    assert split == musgrave(count)
    assert len(split.test) == num_test
    for fold in split.folds:
        assert (len(split.trainval) - len(fold), len(fold)) == (num_train, num_val)


def check(split: ClassSplit, count: int, num_folds: int) -> None:
    assert sorted(split.trainval + split.test) == list(range(count))
    validated = [label for fold in split.folds for label in fold]
    assert len(validated) == len(set(validated))
    assert set(validated) <= set(split.trainval)
    assert 1 <= len(split.folds) <= num_folds
    assert len({len(fold) for fold in split.folds}) == 1
    assert min(len(split.test), *map(len, split.folds)) >= 2


def test_random_splits() -> None:
    draw = random.Random(0)
    refused = 0
    for trial in range(400):
        count, num_folds = draw.randint(1, 60), draw.randint(1, 8)
        fraction = draw.choice([0.1, 0.29, 0.5, 0.7, 0.9])
        mode = draw.choice(["hash", "contiguous"])
        num_test = int(count * round(100 * fraction) // 100)
        if min(num_test, count - num_test) < 2:
            refused += 1
            with pytest.raises(UserError, match=f"of {count} classes makes"):
                make_class_split(names(count), mode, trial, fraction, num_folds)
            continue
        split = make_class_split(names(count), mode, trial, fraction, num_folds)
        assert len(split.test) == num_test
        check(split, count, num_folds)
        if (count - num_test) // num_folds > 2:  # enough for each
            assert len(split.folds) == num_folds
        # Another order of the same classes splits the names alike; folds do not move test.
        shuffled = draw.sample(range(count), count)
        other = make_class_split([names(count)[i] for i in shuffled], mode, trial, fraction, 2)
        assert sorted(shuffled[label] for label in other.test) == split.test
    assert 20 < refused < 200


def test_fractions_whose_product_is_rounded_down() -> None:
    assert 100 * 0.29 < 29
    split = make_class_split(names(100), test_fraction=0.29)
    assert (len(split.trainval), len(split.test)) == (71, 29)


def test_a_single_fold_leaves_classes_to_train_on() -> None:
    split = make_class_split(names(40), num_folds=1)
    assert [len(fold) for fold in split.folds] == [10]


def test_hash_order_is_the_sha256_of_seed_and_name() -> None:
    animals = ["wren", "auk", "finch", "owl", "kite"]
    by_hash = sorted(range(5), key=lambda i: hashlib.sha256(f"7:{animals[i]}".encode()).digest())
    split = make_class_split(animals, "hash", seed=7)
    assert (split.trainval, split.test) == (sorted(by_hash[:3]), sorted(by_hash[3:]))
    assert len({str(make_class_split(animals, "hash", seed)) for seed in range(20)}) > 3


def test_a_new_class_moves_at_most_the_one_at_the_boundary() -> None:
    old = make_class_split(names(100))
    for newcomer in range(30):
        new = make_class_split([f"new {newcomer}", *names(100)])
        moved = {label - 1 for label in new.trainval if label > 0} ^ set(old.trainval)
        assert len(moved) <= 1


def test_hash_takes_from_the_whole_alphabet() -> None:
    test = make_class_split(names(1000)).test
    assert 200 < sum(label < 500 for label in test) < 300


def test_classes_of_one_name() -> None:
    check(make_class_split(["crane", "crane", "maillot", "maillot", "cat"]), 5, 4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"class_names": names(3)}, "3 classes makes 2 to choose on and 1 to test on"),
        ({"test_fraction": 1.0}, r"test_fraction=1\.0"),
        ({"num_folds": 0}, "num_folds=0"),
        ({"mode": "random"}, "^mode=random: must be hash or contiguous$"),
    ],
)
def test_bad_input(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        make_class_split(**{"class_names": names(8), **arguments})
    assert "\n" not in str(error.value)
