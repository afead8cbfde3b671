"""What is said of the classes of val and test, and the class split that a data set comes with."""

from __future__ import annotations

import logging

import pytest
import torch

from ssl_zoo.data import Augmentation, DataModule
from ssl_zoo.data.images import Splits, TensorImages
from ssl_zoo.data.shared_classes import differences
from ssl_zoo.data.splits import class_split_of

NAMES = ["ant", "bee", "cat", "dog", "emu", "Cat", "gnu", "hen", "ibis"]


def images(*labels: int) -> TensorImages:
    return TensorImages(torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8), torch.tensor(labels))


ABC = images(0, 0, 1, 1, 2, 2)
HEADS = "knn, linear and other classifiers"


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (ABC, ABC, None),
        (ABC, images(2, 1, 0, -1), None),
        (
            ABC,
            images(0, 1, 1),
            f"test lacks 1 class (cat) of train: {HEADS} learn all of train's and are scored on "
            "the 2 classes that both have",
        ),
        (
            ABC,
            images(0, 1, 2, 3, 3, 4),
            f"test has 2 classes (dog, emu) that train lacks: {HEADS} learn all of train's and are "
            "scored on the 3 classes that both have, without 3 of its 6 images; retrieval and "
            "embed take all images",
        ),
        (
            ABC,
            images(0, 5),
            f"test has 1 class (Cat) that train lacks and lacks 2 classes (bee, cat) of train: "
            f"{HEADS} learn all of train's and are scored on the 1 class that both have, without 1 "
            "of its 2 images; retrieval and embed take all images; cat and Cat are two classes: "
            "are they meant to be one?",
        ),
        (
            ABC,
            images(3, 4),
            "train and test share no class (train 3 classes (ant, bee, cat), test 2 classes (dog, "
            f"emu)): {HEADS} cannot be scored on it; retrieval and embed take all images",
        ),
        (
            images(2, 2, 0),
            images(5),
            "train and test share no class (train 2 classes (ant, cat), test 1 class (Cat)): "
            f"{HEADS} cannot be scored on it; retrieval and embed take all images; cat and Cat are "
            "two classes: are they meant to be one?",
        ),
        (
            ABC,
            images(-1, -1),
            f"no image of test has a label, train has 3 classes (ant, bee, cat): {HEADS} cannot be "
            "scored on it; retrieval and embed take all images",
        ),
        (
            images(-1, -1),
            images(0, 1),
            f"no image of train has a label, test has 2 classes (ant, bee): {HEADS} cannot be "
            "scored on it; retrieval and embed take all images",
        ),
        (images(-1, -1), images(-1), None),
    ],
)
def test_what_is_said_of_test(train: TensorImages, test: TensorImages, said: str | None) -> None:
    val = images()
    assert differences(train, val, test, NAMES) == ([] if said is None else [said])


def test_what_is_said_of_val(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        data = DataModule(Splits(ABC, None, NAMES, val=images(1, 3)), Augmentation, num_workers=0)
    assert caplog.messages == [
        "val has 1 class (dog) that train lacks and lacks 2 classes (ant, cat) of train: "
        f"{HEADS} learn all of train's and are chosen on the 1 class that both have, without 1 of "
        "its 2 images; retrieval and embed take all images"
    ]
    assert (data.num_train_classes, data.num_classes) == (3, 9)
    assert data.train_labels.tolist() == [0, 1, 2]


def test_a_run_goes_on_whatever_classes_test_has() -> None:
    def fingerprint(*test: int) -> dict[str, object]:
        splits = Splits(ABC, images(*test), NAMES[: 1 + max(2, *test)])
        return DataModule(splits, Augmentation, num_workers=0).fingerprint

    first, other = fingerprint(0, 1, 2), fingerprint(0, 1, 4)
    assert first["classes"] == other["classes"] == NAMES[:3]
    assert first["test"] != other["test"]


def test_the_class_split_of_a_data_set() -> None:
    test = images(3, 3, 4, 4)
    split = class_split_of(ABC, images(0, 1), test, NAMES, num_folds=4)
    assert split is not None
    assert (split.trainval, split.test, split.folds) == ([0, 1, 2], [3, 4], [[1, 2]])
    apart = class_split_of(ABC, images(7, 8), test, NAMES, num_folds=4)
    assert apart is not None
    assert (apart.trainval, apart.folds) == ([0, 1, 2, 7, 8], [[7, 8]])
    for none in (images(2, 3), images(3), images(-1), None):
        assert class_split_of(ABC, images(0), none, NAMES, num_folds=4) is None
    assert class_split_of(ABC, images(3), test, NAMES, num_folds=4) is None  # val has it
