"""The retrieval protocol: its classes, its rows, its gallery."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from helpers import protocols
from helpers.retrieval import pml
from ssl_zoo import figures
from ssl_zoo.config import instantiate
from ssl_zoo.data import DataModule, FileImages
from ssl_zoo.evaluation import clustering_metrics
from ssl_zoo.evaluation.features import Features
from ssl_zoo.protocols.candidate import Candidate, Encoded, SplitFeatures
from ssl_zoo.protocols.retrieval import Retrieval
from ssl_zoo.types import UserError


class Pixels(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def make_candidate(cfg: DictConfig, **options: Any) -> Candidate:
    data: DataModule = instantiate(cfg.data)
    cpu = torch.device("cpu")
    return Candidate("raw pixels", Pixels(), data.preprocess, lambda: data, 0, cpu, **options)


def protocol(**knobs: Any) -> Retrieval:
    retrieval = protocols.protocol("retrieval", **{"num_resamples": 50, **knobs})
    assert isinstance(retrieval, Retrieval)
    return retrieval


def pooled(candidate: Candidate, *splits: str) -> Features:
    chosen = [getattr(candidate.features, split) for split in splits]
    return Features(
        torch.cat([part.representation for part in chosen]),
        torch.cat([part.label for part in chosen]),
    )


def part(pool: Features, classes: list[int]) -> Features:
    rows = [i for i, label in enumerate(pool.label.tolist()) if label in classes]
    return Features(pool.representation[rows], pool.label[rows])


def test_scores_of_a_data_set(make_config: Callable[..., DictConfig]) -> None:
    candidate = make_candidate(make_config())
    scores = protocol(mode="contiguous").score(candidate)
    names = sorted(candidate.data.class_names)
    ids = [candidate.data.class_names.index(name) for name in names]
    pool = pooled(candidate, "train", "val", "test")
    assert len(pool.label) == 360

    test = part(pool, ids[5:])
    expected = pml(*test)
    assert scores["test_map_at_r"] == pytest.approx(expected["mean_average_precision_at_r"])
    assert scores["test_precision_at_1"] == pytest.approx(expected["precision_at_1"])
    assert scores["test_r_precision"] == pytest.approx(expected["r_precision"])
    low, high = scores["test_map_at_r_interval"]
    assert low < scores["test_map_at_r"] < high
    assert scores["num_test_classes"] == 5
    assert scores["num_test_images"] == len(test.label)
    assert scores["test_recall_at_5"] <= scores["test_recall_at_10"] <= 1

    folds = [ids[3:5], ids[0:2]]  # two classes before positions 5 and 2 of five
    on_val = [pml(*part(pool, fold))["mean_average_precision_at_r"] for fold in folds]
    assert scores["val_map_at_r"] == pytest.approx(np.mean(on_val))
    assert scores["val_map_at_r_sem"] == pytest.approx(np.std(on_val, ddof=1) / 2**0.5)
    assert scores["num_val_folds"] == 2
    assert (scores["val_classes_seen"], scores["test_classes_seen"]) == (0, 0)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert not [name for name in scores if name.startswith("weak")]


def test_the_data_sets_own_class_split_goes_first(make_config: Callable[..., DictConfig]) -> None:
    cfg = make_config("dataset.class_split=hash", "dataset.fold=1")
    candidate = make_candidate(cfg)
    split = candidate.data.class_split
    assert split is not None
    scores = protocol(mode="contiguous").score(candidate)
    test = pml(*candidate.features.test)["mean_average_precision_at_r"]
    assert sorted(candidate.features.test.label.unique().tolist()) == split.test
    assert scores["test_map_at_r"] == pytest.approx(test)
    assert scores["num_val_folds"] == len(split.folds) == 2

    # What was trained on this data's train classes is chosen on the fold that it did not see.
    data = candidate.data
    trained_on = frozenset(data.class_names[i] for i in candidate.features.train.label.tolist())
    scores = protocol().score(replace(candidate, seen_classes=trained_on))
    on_val = pml(*candidate.features.val)["mean_average_precision_at_r"]
    assert scores["val_map_at_r"] == pytest.approx(on_val)
    assert (scores["val_map_at_r_sem"], scores["num_val_folds"]) == (None, 1)
    assert (scores["val_classes_seen"], scores["test_classes_seen"]) == (0, 0)
    scores = protocol().score(replace(candidate, seen_classes=frozenset(data.class_names)))
    assert (scores["num_val_folds"], scores["test_classes_seen"]) == (2, 5)
    unknown = replace(candidate, seen_classes=None)
    assert protocol().score(unknown)["test_classes_seen"] is None


def test_images_of_the_test_split_alone(make_config: Callable[..., DictConfig]) -> None:
    candidate = make_candidate(make_config())
    scores = protocol(mode="contiguous", images="test").score(candidate)
    ids = [candidate.data.class_names.index(name) for name in sorted(candidate.data.class_names)]
    test = part(candidate.features.test, ids[5:])
    assert scores["num_test_images"] == len(test.label) < 60
    expected = pml(*test)["mean_average_precision_at_r"]
    assert scores["test_map_at_r"] == pytest.approx(expected)
    split = make_candidate(make_config("dataset.class_split=hash"))
    with pytest.raises(UserError, match=r"images=test leaves no validation class"):
        protocol(images="test").score(split)
    with pytest.raises(UserError, match=r"images=val: must be all or test"):
        protocol(images="val")


def test_a_recall_that_cannot_miss_is_said(
    make_config: Callable[..., DictConfig], caplog: pytest.LogCaptureFixture
) -> None:
    """k above the number of other images."""
    candidate = make_candidate(make_config())
    test = candidate.features.test
    rows = [row for c in range(10) for row in (test.label == c).nonzero()[:2, 0].tolist()]
    few = candidate.features._replace(test=Features(*(part[rows] for part in test)))
    retrieval = protocol(mode="contiguous", images="test")
    with caplog.at_level("INFO", "ssl_zoo"):
        retrieval.score(candidate)
        assert "R@" not in caplog.text
        scores = retrieval.score(replace(candidate, encoded=Encoded(few)))
    assert scores["test_recall_at_10"] == 1
    said = "retrieval: the test classes have 10 images, so that R@10 finds all the others of a"
    assert said in caplog.text


def test_weak_measures_on_request(
    make_config: Callable[..., DictConfig], caplog: pytest.LogCaptureFixture
) -> None:
    candidate = make_candidate(make_config("dataset.class_split=hash"))
    with caplog.at_level(logging.WARNING, "ssl_zoo"):
        scores = protocol(clustering=True).score(candidate)
    (line,) = [record.message for record in caplog.records if "weak measures" in record.message]
    assert "\n" not in line
    expected = clustering_metrics(*candidate.features.test, seed=candidate.seed)
    assert {name: scores[f"weak_{name}"] for name in ("nmi", "ami", "f1")} == expected._asdict()


def test_the_test_labels_move_no_val_score(make_config: Callable[..., DictConfig]) -> None:
    candidate = make_candidate(make_config("dataset.class_split=hash"))
    before = protocol().score(candidate)
    train, val, test = candidate.features
    turned = test.label[torch.randperm(len(test.label), generator=torch.Generator().manual_seed(0))]
    turned_round = SplitFeatures(train, val, test._replace(label=turned))
    after = protocol().score(replace(candidate, encoded=Encoded(turned_round)))
    for name in before:
        if name.startswith("val_"):
            assert after[name] == before[name]
    assert after["test_map_at_r"] < before["test_map_at_r"]


@pytest.mark.slow
@pytest.mark.parametrize("images", ["all", "test"])
@pytest.mark.usefixtures("pictures")
def test_the_gallery_shows_the_images_it_ranked(
    make_config: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: str,
) -> None:
    candidate = make_candidate(make_config(), figure_stem=tmp_path / "retrieval")
    shown: list[Any] = []
    real = figures.draw_gallery
    monkeypatch.setattr(
        "ssl_zoo.protocols.retrieval.draw_gallery",
        lambda *args: (shown.append(args), real(*args))[1],
    )
    protocol(images=images).score(candidate)
    assert (tmp_path / "retrieval_gallery.png").is_file()
    ((queries, neighbors, correct),) = shown
    assert len(queries) == len(neighbors) == len(correct) == 8
    assert all(image.dtype == torch.uint8 for row in (queries, *neighbors) for image in row)

    # Pixels are the features here, so the pictures themselves tell which rows they are.
    pool = pooled(candidate, *(("train", "val", "test") if images == "all" else ("test",)))
    features = nn.functional.normalize(pool.representation, dim=1)

    def find(picture: Tensor) -> int:
        own = nn.functional.normalize(
            candidate.preprocess.normalize(picture)[None].flatten(1), dim=1
        )
        return int((features @ own[0]).argmax())

    for query, row, right in zip(queries, neighbors, correct, strict=True):
        q, found = find(query), [find(picture) for picture in row]
        assert q not in found
        similarity = features[found] @ features[q]
        assert (similarity.diff() <= 1e-6).all()
        assert [bool(pool.label[i] == pool.label[q]) for i in found] == right


def test_the_gallery_of_image_files(tmp_path: Path) -> None:
    from PIL import Image

    from ssl_zoo.data.loaders import CleanLoader
    from ssl_zoo.data.preprocess import Preprocess
    from ssl_zoo.protocols.retrieval import _images

    paths = []
    for i in range(5):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", (20 + i, 30), (10 * i, 0, 0)).save(paths[-1])
    files = FileImages(paths, torch.tensor([0, -1, 1, 0, 1]))
    loader = CleanLoader(files, Preprocess(16), index=torch.tensor([4, 1, 0, 3]))
    pictures = _images([loader, loader], torch.tensor([1, 0, 5]))  # of rows 4, 0, 3, 4, 0, 3
    assert [int(picture[0, 0, 0]) for picture in pictures] == [0, 40, 30]
    assert {tuple(picture.shape) for picture in pictures} == {(3, 16, 16)}
