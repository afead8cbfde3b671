"""Class-disjoint data: parts that share neither classes nor images, and what watches them."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch import nn

from ssl_zoo.checkpoint import read_checkpoint
from ssl_zoo.config import instantiate as build
from ssl_zoo.data import DataModule, FileImages, Splits, TensorImages
from ssl_zoo.data.class_disjoint import class_disjoint
from ssl_zoo.data.datasets import Images, TwoArrays, folder, pool
from ssl_zoo.run import build_method
from ssl_zoo.types import UserError
from train import train

Make = Callable[..., DictConfig]
NET = ["backbone.widths=[8,16]", "backbone.strides=[2,2]", "augmentation.blur=0", "name=test"]


def make_classes(root: Path, classes: list[str], per_class: int = 4, size: int = 8) -> Path:
    """A tree in which every image is flat and of a colour of its own: 40 * class + image."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = np.full((size, size, 3), (c, i, 5 * i + c), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def colours(images: Images) -> list[tuple[int, int]]:
    """(class, image) of each image, as its pixels say."""
    if isinstance(images, TensorImages):
        pixels = images.batch(torch.arange(len(images)))
    else:
        pixels = torch.stack([images.load(i) for i in range(len(images))])
    return [(int(p[0, 0, 0]), int(p[1, 0, 0])) for p in pixels]


NAMES = [f"class{i:02d}" for i in range(20)]


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    """20 classes, of which both train and test have images."""
    make_classes(tmp_path / "data" / "train", NAMES, per_class=4)
    test = make_classes(tmp_path / "data" / "test", NAMES, per_class=2)
    for path in test.rglob("*.png"):  # test images are marked as such
        pixels = np.array(Image.open(path))
        pixels[:, :, 1] += 100
        Image.fromarray(pixels).save(path)
    return folder(tmp_path / "data", cache_dir=tmp_path / "cache")


# --- pooling ------------------------------------------------------------------------------------


def test_pooled_arrays_are_read_in_place(splits: Splits) -> None:
    assert isinstance(splits.train, TensorImages)
    assert isinstance(splits.test, TensorImages)
    both = pool(splits.train, splits.test)
    assert isinstance(both, TensorImages)
    assert isinstance(both.images, TwoArrays)
    assert np.shares_memory(both.images.first, splits.train.images)
    assert np.shares_memory(both.images.second, splits.test.images)
    assert len(both) == 120
    index = torch.tensor([0, 119, 80, 79, 5])  # 80 are train's
    expected = [splits.train.batch(torch.tensor([i])) for i in (0,)]
    expected += [splits.test.batch(torch.tensor([39])), splits.test.batch(torch.tensor([0]))]
    expected += [splits.train.batch(torch.tensor([79])), splits.train.batch(torch.tensor([5]))]
    assert torch.equal(both.batch(index), torch.cat(expected))
    assert both.paths is not None
    assert both.paths[119].endswith("test/class19/1.png")
    assert torch.equal(both.labels, torch.cat([splits.train.labels, splits.test.labels]))


def test_parts_of_one_array_are_pooled_without_a_second() -> None:
    array: NDArray[np.uint8] = np.arange(6 * 3, dtype=np.uint8).reshape(6, 3, 1, 1)
    images = TensorImages(array, torch.arange(6))
    both = pool(images.subset(torch.tensor([5, 1])), images.subset(torch.tensor([0])))
    assert isinstance(both, TensorImages)
    assert both.images is array
    assert both.batch(torch.arange(3))[:, 0, 0, 0].tolist() == [15, 3, 0]


def test_subsets_keep_the_paths(splits: Splits) -> None:
    part = splits.train.subset(torch.tensor([79, 4]))
    assert [Path(p).parts[-2:] for p in part.paths or []] == [  # type: ignore[union-attr]
        ("class19", "3.png"),
        ("class01", "0.png"),
    ]


# --- the parts ----------------------------------------------------------------------------------


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
        assert (parts.split.folds[fold], parts.split.test) == (labels[1], labels[2])
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
        (["dataset.fold=4"], r"dataset\.fold=4: this data has the folds 0 to 3$"),
        (["dataset.fold=-1"], r"dataset\.fold=-1: this data has the folds 0 to 3$"),
        (["dataset.class_split=null", "dataset.fold=1"], r"fold=1 needs dataset\.class_split=hash"),
        (["dataset.class_split=foo"], r"class_split=foo: give hash, contiguous or null$"),
        (["dataset.labelled=false"], r"class_split=hash needs labels, .*class_split=null$"),
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


# --- class_depth --------------------------------------------------------------------------------

LETTERS = [f"{a}/{c}" for a in ("Greek", "Latin") for c in ("a", "b")]


def test_two_folders_make_a_class(tmp_path: Path) -> None:
    root = make_classes(tmp_path / "data", LETTERS)
    options = {"cache_dir": tmp_path / "cache"}
    shallow, deep = folder(root, **options), folder(root, class_depth=2, **options)  # type: ignore[arg-type]
    assert shallow.class_names == ["Greek", "Latin"]
    assert deep.class_names == LETTERS
    assert deep.train.labels.tolist() == [c for c, _ in colours(deep.train)]
    assert shallow.train.labels.tolist() == [c // 2 for c, _ in colours(deep.train)]


def test_what_class_depth_cannot_do(tmp_path: Path) -> None:
    root = make_classes(tmp_path / "data", LETTERS)

    def opened(**options: object) -> Splits:
        return folder(root, cache_dir=tmp_path / "cache", **options)  # type: ignore[arg-type]

    with pytest.raises(UserError, match=r"dataset\.class_depth=0: give 1 or more$"):
        opened(class_depth=0)
    with pytest.raises(UserError, match=r"class_depth=2 needs classes: remove labelled=false$"):
        opened(class_depth=2, labelled=False)
    with pytest.raises(UserError, match=r"class_depth=3 takes .* has 16 images above that: move"):
        opened(class_depth=3)
    (root / "Korean").mkdir()
    with pytest.raises(UserError, match=r"class folders without images in .*: Korean;"):
        opened(class_depth=2)
    Image.new("RGB", (8, 8)).save(root / "Korean" / "loose.png")
    with pytest.raises(UserError, match=r"class_depth=2 takes .* has 1 images above that: move"):
        opened(class_depth=2)


# --- what watches -------------------------------------------------------------------------------


def column(run: Path, name: str) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


def retrieval_of(run: Path, cfg: DictConfig, checkpoint: str, embedding: bool) -> list[float]:
    """MAP@R and P@1 of the val classes, by pytorch-metric-learning, of a saved checkpoint."""
    data: DataModule = build(cfg.data)
    method = build_method(cfg, data)
    saved = torch.load(run / "checkpoints" / checkpoint, weights_only=True)
    method.load_state_dict(saved["state_dict"])
    method.eval()
    with torch.no_grad():
        outputs = [
            method.encoder(data.preprocess.normalize(batch.images))[embedding]
            for batch in data.val_dataloader()
        ]
    vectors = nn.functional.normalize(torch.cat(outputs), dim=1)
    names = ("mean_average_precision_at_r", "precision_at_1")
    calculator = AccuracyCalculator(
        names, k="max_bin_count", device=torch.device("cpu"), knn_func=CustomKNN(CosineSimilarity())
    )
    labels = data.val.labels
    found = calculator.get_accuracy(vectors, labels, vectors, labels, ref_includes_query=True)
    return [found[name] for name in names]


@pytest.mark.parametrize("method", ["simclr", "metric_learning"])
def test_val_classes_are_scored_by_retrieval(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    split = ["dataset.class_split=hash", "batch_size=32", "epochs=3"]
    cfg = make_config(f"method={method}", *split)
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        metrics = train(cfg)
    run = tmp_path / "run"
    assert "val/knn_top1" not in metrics
    assert "val/probe_top1" not in metrics
    assert (
        sum("monitor and the linear probe are off" in r.getMessage() for r in caplog.records) == 1
    )
    curve = column(run, "val/map_at_r")
    assert len(curve) == 3
    last = retrieval_of(run, cfg, "last.ckpt", method == "metric_learning")
    assert [metrics["val/map_at_r"], metrics["val/precision_at_1"]] == pytest.approx(last, abs=1e-5)
    best = retrieval_of(run, cfg, "best.ckpt", method == "metric_learning")
    assert best[0] == pytest.approx(max(curve), abs=1e-5)
    extras = read_checkpoint(run / "checkpoints" / "last.ckpt")["ssl_zoo"]
    data: DataModule = build(cfg.data)
    assert extras["train_classes"] == data.class_names[:3]
