"""Splits that share neither classes nor images."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from helpers.class_disjoint import NAMES, colours
from helpers.configs import Make
from helpers.trees import make_classes
from ssl_zoo.config import instantiate as build
from ssl_zoo.data import DataModule, FileImages, Splits, TensorImages
from ssl_zoo.data.datasets import folder
from ssl_zoo.data.splits import class_disjoint
from ssl_zoo.types import UserError

NET = ["backbone.widths=[8,16]", "backbone.strides=[2,2]", "augmentation.blur=0", "name=test"]


@pytest.mark.parametrize("mode", ["hash", "contiguous"])
def test_parts_share_no_class_and_no_image(splits: Splits, mode: str) -> None:
    whole = {(c, i) for c in range(20) for i in (0, 1, 2, 3, 100, 101)}
    tests, vals = [], []
    for fold in range(4):
        parts = class_disjoint(splits, mode, seed=3, fold=fold)  # type: ignore[arg-type]
        seen = [colours(part) for part in (parts.train, parts.val, parts.test)]
        classes = [{c for c, _ in part} for part in seen]
        assert sorted([*seen[0], *seen[1], *seen[2]]) == sorted(whole)
        assert [len(part) for part in classes] == [8, 2, 10]
        assert len(set.union(*classes)) == 20
        labels = [part.labels.unique().tolist() for part in (parts.train, parts.val, parts.test)]
        assert labels == [list(range(8)), [8, 9], list(range(10, 20))]
        assert parts.class_split is not None
        assert (parts.class_split.folds[fold], parts.class_split.test) == (labels[1], labels[2])
        for part, found in zip((parts.train, parts.val, parts.test), seen, strict=True):
            named = [NAMES.index(parts.class_names[label]) for label in part.labels.tolist()]
            assert named == [c for c, _ in found]
        tests.append((seen[2], parts.test.labels.tolist()))
        vals.append(classes[1])
        if mode == "contiguous":
            assert classes[2] == set(range(10, 20))
    assert all(test == tests[0] for test in tests)
    assert len(set.union(*vals)) == 8  # four disjoint folds of two


def test_files_are_parted_like_tensors(tmp_path: Path) -> None:
    root = make_classes(tmp_path / "data", NAMES[:8])
    images = folder(root, cache_dir=tmp_path / "cache", cache_limit_gb=0)
    assert isinstance(images.train, FileImages)
    parts = class_disjoint(images, "contiguous")
    assert {c for c, _ in colours(parts.test)} == {4, 5, 6, 7}
    assert len(parts.train) + len(parts.val) == 16


def test_unlabelled_images_are_left_out(splits: Splits) -> None:
    labels = splits.train.labels.clone()
    labels[:3] = -1
    train = TensorImages(splits.train.images, labels)  # type: ignore[union-attr]
    parts = class_disjoint(splits._replace(train=train), "hash")
    assert len(parts.train) + len(parts.val) + len(parts.test) == 117


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.fold=4"], r"fold=4: must be in 0 to 3, the folds of this data$"),
        (["dataset.fold=-1"], r"fold=-1: must be in 0 to 3, the folds of this data$"),
        (["dataset.class_split=null", "dataset.fold=1"], r"fold=1 needs class_split=hash"),
        (["dataset.class_split=foo"], r"class_split=foo: must be hash, contiguous or null$"),
        (["dataset.labelled=false"], r"class_split=hash needs labels, .*or set it null$"),
    ],
)
def test_what_does_not_fit_is_told(
    make_config: Make, tmp_path: Path, overrides: list[str], message: str
) -> None:
    root = make_classes(tmp_path / "data", NAMES)
    base = ["dataset=folder", f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    cfg = make_config(*base, "dataset.class_split=hash", *NET, *overrides, tiny=False)
    with pytest.raises(UserError, match=message):
        build(cfg.data)


def test_too_few_classes_to_train_on_are_told(make_config: Make, tmp_path: Path) -> None:
    root = make_classes(tmp_path / "data", NAMES[:4])
    base = ["dataset=folder", f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    cfg = make_config(*base, "dataset.class_split=hash", *NET, tiny=False)
    with pytest.raises(
        UserError, match=r"class_split=hash of 4 classes leaves none to train on: 2"
    ):
        build(cfg.data)


def test_data_module_and_its_line(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_classes(tmp_path / "data", NAMES)
    base = ["dataset=folder", f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    cfg = make_config(*base, "dataset.class_split=hash", "dataset.fold=2", *NET, tiny=False)
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        data: DataModule = instantiate(cfg.data)
    assert [r.getMessage() for r in caplog.records if "class-disjoint" in r.getMessage()] == [
        "class-disjoint: train 8 classes of 32 images, val 2 classes of 8 images, "
        "test 10 classes of 40 images"
    ]
    assert (data.num_images, data.num_classes, data.num_train_classes) == (32, 20, 8)
    assert data.class_split is not None
    assert data.class_split.folds[2] == [8, 9]
    bank = torch.cat([batch.label for batch in data.bank_dataloader()])
    assert bank.unique().tolist() == list(range(8))
    test = torch.cat([batch.label for batch in data.test_dataloader()])
    assert test.unique().tolist() == list(range(10, 20))


def test_without_a_class_split_nothing_changes(make_config: Make) -> None:
    data: DataModule = instantiate(make_config().data)
    assert (data.class_split, data.num_train_classes, data.num_classes) == (None, 10, 10)
    assert (len(data.train), len(data.val)) == (270, 30)
