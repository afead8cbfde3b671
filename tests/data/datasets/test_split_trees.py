"""Trees with splits under all sorts of names: never trained on as if they were classes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.files import open_folder, write_tree
from ssl_zoo.data import DataModule, FileImages, Splits, TensorImages
from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.datasets.split_names import role
from ssl_zoo.data.decode import decode
from ssl_zoo.types import UserError

CLASSES = ("cat", "dog")


def write_splits(root: Path, *folders: str, count: int = 3) -> None:
    """Each folder holds the classes; images differ everywhere."""
    names = [f"{f}/{c}/{i}.png" for f in folders for c in CLASSES for i in range(count)]
    write_tree(root, *names)


def files(images: object) -> set[str]:
    """The first folder below the root of each image."""
    assert isinstance(images, FileImages | TensorImages)
    return {"/".join(Path(p).parts[-3:-2]) for p in images.paths or []}


def parts(splits: Splits) -> dict[str, set[str]]:
    named = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {name: files(images) for name, images in named.items() if images is not None}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", None, "Testing"),  # today: classes called Training and Testing
        ("training", "validation", None),
        ("TRAIN", "Valid", "TEST"),
        ("trn", "dev", "tst"),
        ("seg_train", None, "seg_test"),
        ("train2017", "val2017", "test2017"),
        ("training_set", None, "test_set"),
        ("trainset", "valset", "testset"),
        ("TrainImages", "ValidationImages", "TestImages"),
        ("training", "validation", "evaluation"),
    ],
)
def test_known_names_are_splits(root: Path, train: str, val: str | None, test: str | None) -> None:
    found = {"train": train, "val": val, "test": test}
    expected = {split: name for split, name in found.items() if name is not None}
    write_splits(root, *expected.values())
    splits = open_folder(root)
    assert parts(splits) == {split: {name} for split, name in expected.items()}
    assert splits.class_names == list(CLASSES)
    assert sorted(splits.train.labels.tolist()) == [0] * 3 + [1] * 3


@pytest.mark.parametrize("wrapper", ["archive", "images", "a/b/c"])
def test_splits_in_a_wrapper(root: Path, wrapper: str) -> None:
    write_splits(root, f"{wrapper}/Train", f"{wrapper}/valid", f"{wrapper}/Test")
    (root / "labels" / "train").mkdir(parents=True)  # as detectors keep them
    (root / "labels" / "train" / "1.txt").touch()
    splits = open_folder(root)
    assert parts(splits) == {"train": {"Train"}, "val": {"valid"}, "test": {"Test"}}
    assert splits.train.left_out == {".txt: not an image that Pillow reads": 1}


def test_a_wrapper_around_each_split_and_folders_without_labels(root: Path) -> None:
    """As Intel's image classification comes: seg_train/seg_train/forest, and seg_pred, unread."""
    write_splits(root, "seg_train/seg_train", "seg_test/seg_test")
    write_tree(root, "seg_pred/seg_pred/1.png", "seg_pred/seg_pred/2.png")
    splits = open_folder(root)
    assert parts(splits) == {"train": {"seg_train"}, "test": {"seg_test"}}
    assert splits.class_names == list(CLASSES)
    assert splits.train.left_out == {"images in seg_pred/: not a split that is read": 2}


def test_a_wrapper_around_classes(root: Path) -> None:
    write_tree(root, "flowers/rose/1.png", "flowers/tulip/2.png", "flowers/tulip/3.png")
    splits = open_folder(root)
    assert splits.class_names == ["rose", "tulip"]
    assert splits.train.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["part1", "part2"], "hold the same folders (cat, dog)"),
        (["fold_a", "fold_b", "fold_c"], "hold the same folders (cat, dog)"),
        (["data/left", "data/right"], "hold the same folders (cat, dog)"),
        (["trainA", "trainB", "testA", "testB"], "look like splits"),
        (["fruit_train", "fruit_test"], "look like splits"),
        (["bottle/train", "bottle/test", "cable/train", "cable/test"], "bottle holds the splits"),
        (["x/train", "x/test", "y/other"], "holds the splits test, train"),
        (["train/a/train", "train/a/val", "train/b"], "holds the splits train, val"),
        (["Test", "Valid"], "has a folder Test but no folder train"),
        (["Validation", "more"], "has a folder Validation but no folder train"),
        (["train", "Training", "test"], "2 folders that may be train"),
        (["train", "val", "validation"], "2 folders that may be val"),
        (["Trainingsdaten", "Testdaten"], "look like splits"),
        (["trainfiles", "testfiles"], "look like splits"),
        (["训练集", "测试集"], "look like splits"),
        (["entraînement", "évaluation"], "look like splits"),
        (["обучение", "тест"], "look like splits"),
        (["plum", "plum_test", "pear"], "has plum_test, which look like a split of each class"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(
    root: Path, names: list[str], line: str
) -> None:
    write_splits(root, *names)
    with pytest.raises(UserError) as error:
        open_folder(root)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    fixes = ("rename", "move its folders up", "as the root")
    assert any(fix in str(error.value) for fix in fixes)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["fold1/cat/1.png", "fold2/dog/2.png"], "look like pieces of one set"),
        (["batch_a/1.png", "batch_b/2.png"], "look like pieces of one set"),
        (["Part I/1.png", "Part II/2.png", "Part IV/3.png"], "look like pieces of one set"),
        (["query/1.png", "Gallery/2.png"], "look like pieces of one set"),
        (["images/1.png", "masks/1.png"], "look like pictures and what is drawn on them"),
        (["JPEGImages/1.png", "SegmentationClass/1.png"], "look like pictures and what is drawn"),
        (["rgb/1.png", "depth/1.png", "notes/2.png"], "give {root}/rgb as the root"),
        (["CUB_200/images/1.png", "segmentations/1.png"], "give {root}/CUB_200 as the root"),
        (["HAM_images_part_1/1.png", "HAM_images_part_2/2.png"], "look like pieces of one set"),
    ],
)
def test_parts_of_one_set_are_no_classes(root: Path, names: list[str], line: str) -> None:
    write_tree(root, *names)
    with pytest.raises(UserError, match=re.escape(line.format(root=root))) as error:
        open_folder(root)
    assert "\n" not in str(error.value)
    assert len(open_folder(root, labelled=True).class_names) == len(names)


@pytest.mark.parametrize(
    "names",
    [
        ("class1", "class2"),
        ("inputs_a", "b"),
        ("setter", "pointer"),
        ("trains", "buses"),
        ("mask", "no_mask"),
    ],
)
def test_names_that_only_seem_so_are_classes(root: Path, names: tuple[str, ...]) -> None:
    write_tree(root, *(f"{name}/{i}.png" for name in names for i in range(2)))
    assert open_folder(root).class_names == sorted(names)


def test_classes_with_the_same_folders_can_be_said_to_be_classes(root: Path) -> None:
    write_splits(root, "indoor", "outdoor")
    assert open_folder(root, labelled=True).class_names == ["indoor", "outdoor"]
    assert open_folder(root, labelled=False).class_names == []
    assert len(open_folder(root, class_depth=2).class_names) == 4
    assert parts(open_folder(root, test_folder="outdoor")) == {
        "train": {"indoor"},
        "test": {"outdoor"},
    }


def test_classes_that_share_one_folder_are_classes(root: Path) -> None:
    write_tree(root, "n01/images/1.png", "n02/images/2.png", "n03/images/3.png")
    assert open_folder(root).class_names == ["n01", "n02", "n03"]


def test_a_class_called_train(root: Path) -> None:
    write_tree(root, "bus/1.png", "car/2.png", "train/3.png", "train/4.png")
    with pytest.raises(UserError, match=r"data/train may be a split or a class like bus, car"):
        open_folder(root)
    splits = open_folder(root, labelled=True)
    assert splits.class_names == ["bus", "car", "train"]
    assert splits.train.labels.tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_that_is_linked_into_two_splits_is_refused(root: Path, link: Any) -> None:
    write_splits(root, "train", "test")
    assert len(open_folder(root).train) == 6
    link(root / "train/cat/1.png", root / "test/dog/9.png")
    line = f"{root}/train/cat/1.png and {root}/test/dog/9.png are the same file by a link: no image"
    with pytest.raises(UserError, match=re.escape(line)):
        open_folder(root)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_that_is_linked_inside_of_a_split_is_said(
    root: Path, link: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_splits(root, "train", "test")
    link(root / "train/cat/1.png", root / "train/dog/9.png")
    assert len(open_folder(root).train) == 7
    (line,) = [message for message in caplog.messages if "same file by a link" in message]
    assert f"{root}/train/dog/9.png and {root}/train/cat/1.png" in line


def test_masks_inside_of_splits_are_no_class(root: Path) -> None:
    write_tree(
        root,
        *(
            f"{s}/{f}/{i}.png"
            for s in ("train", "val")
            for f in ("images", "masks")
            for i in (1, 2)
        ),
    )
    with pytest.raises(UserError, match=rf"{root}/train has a folder images and a folder masks"):
        open_folder(root)
    assert open_folder(root, labelled=True).class_names == ["images", "masks"]


def test_files_of_labels_beside_the_images_make_no_class(root: Path) -> None:
    """As detection's exports have them: train/images and train/labels."""
    write_tree(root, "train/images/1.png", "train/images/2.png", "test/images/3.png")
    for split in ("train", "test"):
        (root / split / "labels").mkdir()
        (root / split / "labels/1.txt").write_text("0 .1 .1 .1 .1")
    splits = open_folder(root)
    assert (splits.class_names, len(splits.train)) == ([], 2)
    (root / "train/labels").rename(root / "train/apple")
    with pytest.raises(UserError, match=r"class folders without images in .*train: apple"):
        open_folder(root)


# ---- val ----


def data_module(splits: Splits, **options: object) -> DataModule:
    return DataModule(splits, Augmentation, batch_size=4, **options)  # type: ignore[arg-type]


def test_a_val_folder_is_val(root: Path) -> None:
    write_splits(root, "train", "val", "test")
    data = data_module(open_folder(root))
    for images, name in ((data.train, "train"), (data.val, "val"), (data.test, "test")):
        assert files(images) == {name}
        assert len(images or []) == 6


def test_a_val_folder_may_be_test(root: Path) -> None:
    write_splits(root, "train", "Valid", "test")
    write_tree(root, "notes/1.png")
    splits = open_folder(root, test_folder="val")
    assert parts(splits) == {"train": {"train"}, "test": {"Valid"}}
    reason = "images in {}/: not a split that is read"
    assert splits.train.left_out == {reason.format("test"): 6, reason.format("notes"): 1}
    data = data_module(splits)
    assert (files(data.val), files(data.test)) == ({"train"}, {"Valid"})
    with pytest.raises(
        UserError, match=r"^test_folder=tset is not one folder of .*Valid, notes, test, train"
    ):
        open_folder(root, test_folder="tset")
    with pytest.raises(UserError, match=r"^test_folder=train leaves no folder train"):
        open_folder(root, test_folder="train")


def test_val_may_lack_classes_or_have_others(root: Path) -> None:
    write_splits(root, "train")
    write_tree(root, "val/cat/1.png")
    splits = open_folder(root)
    assert splits.val is not None
    assert splits.val.labels.tolist() == [0]
    write_tree(root, "val/ant/1.png")
    splits = open_folder(root)
    assert splits.val is not None
    assert splits.class_names == [*CLASSES, "ant"]
    assert splits.val.labels.tolist() == [2, 0]
    assert data_module(splits).num_train_classes == 2


def test_val_without_class_folders_is_left_out(root: Path) -> None:
    write_splits(root, "train")
    write_tree(root, "val/1.png", "val/2.png")
    splits = open_folder(root)
    assert splits.val is None
    reason = "images in val/: it has no class folders as train has"
    assert splits.train.left_out == {reason: 2}


def test_all_splits_are_pooled_where_classes_are_held_out(root: Path) -> None:
    names = [f"{split}/{c}/1.png" for split in ("train", "val", "test") for c in "abcdefgh"]
    write_tree(root, *names)
    data = data_module(open_folder(root), class_split="hash")
    assert len(data.train) + len(data.val) + len(data.test or []) == 24
    for images in (data.train, data.val, data.test):
        assert images is not None
        (pixels,) = images.clean_batches([torch.arange(len(images))], lambda x: x, 0)
        expected = [decode(path).transpose(2, 0, 1) for path in images.places()]
        np.testing.assert_array_equal(pixels, expected)


# ---- stray pictures, and what is no picture ----


def test_a_stray_picture_does_not_drop_the_labels(root: Path) -> None:
    write_splits(root, "train", "test", count=4)
    write_tree(root, "train/cover.png", "test/one.png", "test/two.png", "preview.png")
    splits = open_folder(root)
    assert splits.class_names == list(CLASSES)
    assert len(splits.train) == len(splits.test or []) == 8
    assert splits.train.left_out == {
        "images in train/ outside of its class folders": 1,
        "images outside of the folders that are read": 1,
    }
    assert splits.test is not None
    assert splits.test.left_out == {"images in test/ outside of its class folders": 2}
    assert data_module(splits).left_out == {**splits.train.left_out, **splits.test.left_out}


def test_parts_of_images_say_what_was_left_out(root: Path) -> None:
    write_tree(root, "a/1.png", "a/3.png", "b/2.png", "stray.png")
    splits = open_folder(root)
    assert data_module(splits).train.left_out == splits.train.left_out != {}


def test_systems_files_are_neither_classes_nor_images(root: Path) -> None:
    write_splits(root, "train", "test", "__MACOSX/train", ".ipynb_checkpoints")
    write_tree(root, "train/cat/.ipynb_checkpoints/1.png", "train/@eaDir/1.png", "train/dog/x.png")
    (root / "train/dog/x.png").rename(root / "train/dog/._0.png")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (root / "train" / name).touch()
        (root / "train" / "cat" / name).touch()
    splits = open_folder(root)
    assert splits.class_names == list(CLASSES)
    assert len(splits.train) == len(splits.test or []) == 6
    assert splits.train.left_out == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("Train", "train"), ("TRN", "train"), ("train_images", "train"), ("train-set", "train")),
        *(("my_test_data", "test"), ("img_val", "val"), ("ValidationSet", "val")),
        *(
            ("trainA", None),
            ("cat", None),
            ("bullet_train", None),
            ("contest", None),
            ("2017", None),
        ),
        *(("latest", None), ("training shoes", None), ("猫", None), ("images", None)),
    ],
)
def test_names(name: str, expected: str | None) -> None:
    assert role(name) == expected


@pytest.mark.parametrize("name", ["test", "Validation"])
def test_images_held_out_within_a_class_are_not_trained_on(root: Path, name: str) -> None:
    write_tree(root, "cat/1.png", "dog/1.png", f"dog/{name}/2.png")
    with pytest.raises(UserError, match=f"dog holds a folder {name}, .*: move it out, or set"):
        open_folder(root)
    assert len(open_folder(root, labelled=True).train) == 3


@pytest.mark.parametrize("inside", ["", "/sub"])
def test_no_two_splits_are_the_same_folder_by_a_link(root: Path, inside: str) -> None:
    write_splits(root, f"train{inside}")
    (root / "test").symlink_to(root / f"train{inside}", target_is_directory=True)
    with pytest.raises(
        UserError, match=r"\(test\) and .* \(train\) are the same files by a link: "
    ):
        open_folder(root)


def test_an_empty_test_folder_is_not_forgotten(root: Path) -> None:
    write_splits(root, "train")
    (root / "test").mkdir()
    (root / "test" / "a.pdf").touch()
    with pytest.raises(
        UserError, match=r"data/test is test and holds no image: fill or remove it$"
    ):
        open_folder(root)
