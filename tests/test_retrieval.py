"""Retrieval against loops, pytorch-metric-learning and figures worked out by hand."""

from __future__ import annotations

import itertools
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch import Tensor, nn

from ssl_zoo.config import instantiate
from ssl_zoo.data import DataModule, FileImages
from ssl_zoo.evaluation import (
    class_bootstrap,
    clustering_metrics,
    knn_top1,
    nearest,
    retrieval,
    retrieval_metrics,
)
from ssl_zoo.evaluation.clustering import score_clusters
from ssl_zoo.evaluation.features import Features
from ssl_zoo.protocols.retrieval import Retrieval
from ssl_zoo.protocols.task import Task
from ssl_zoo.types import UserError

MEANS = ("precision_at_1", "r_precision", "map_at_r", "macro_map_at_r", "num_lone", "num_queries")


def clustered(seed: int, num_images: int = 120, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Noisy classes of very unequal size, two of them of one image."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(num_images, generator=generator) ** 2 * 9).long()
    labels[7], labels[60] = 20, 21
    centres = torch.randn(22, dim, generator=generator)
    return centres[labels] + torch.randn(num_images, dim, generator=generator), labels


def tied(seed: int, num_images: int = 90) -> tuple[Tensor, Tensor]:
    """Sign vectors in 4 dimensions: 16 different rows, so duplicates and equal cosines abound.

    Their cosines are multiples of 1/2, exact in any float type.
    """
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (num_images, 4), generator=generator) * 2 - 1
    labels = torch.randint(7, (num_images,), generator=generator)
    labels[3] = 11
    return signs.float(), labels


def loop(
    queries: list[list[float]],
    labels: list[int],
    items: list[list[float]],
    item_labels: list[int],
    alone: bool,
) -> dict[str, Any]:
    """The definitions, one query and one rank at a time."""
    rows, lone = [], 0
    for q, (query, label) in enumerate(zip(queries, labels, strict=True)):
        ranking = []
        for i, item in enumerate(items):
            if alone and i == q:
                continue
            dot = sum(a * b for a, b in zip(query, item, strict=True))
            ranking.append((-dot / math.hypot(*query) / math.hypot(*item), i))
        hits = [item_labels[i] == label for _, i in sorted(ranking)]
        r = sum(hits)
        if r == 0:
            lone += 1
            continue
        precisions = [sum(hits[: i + 1]) / (i + 1) if hits[i] else 0.0 for i in range(r)]
        rows.append((label, float(hits[0]), sum(hits[:r]) / r, sum(precisions) / r, hits))
    mean = {
        name: float(np.mean([row[place] for row in rows]))
        for place, name in enumerate(("precision_at_1", "r_precision", "map_at_r"), start=1)
    }
    classes = [
        np.mean([row[3] for row in rows if row[0] == label]) for label in {row[0] for row in rows}
    ]
    return {
        **mean,
        "macro_map_at_r": float(np.mean(classes)),
        "num_lone": lone,
        "num_queries": len(rows),
        "recall_at": {k: float(np.mean([any(row[4][:k]) for row in rows])) for k in (1, 5, 10)},
        "chance": float(np.mean([np.mean(row[4]) for row in rows])),
    }


def agree(metrics: retrieval.RetrievalMetrics, expected: dict[str, Any]) -> None:
    for name in MEANS:
        assert getattr(metrics, name) == pytest.approx(expected[name], abs=1e-12), name
    assert metrics.recall_at == pytest.approx(expected["recall_at"])
    assert metrics.chance_precision_at_1 == pytest.approx(expected["chance"])


def on_circle(angles: list[float]) -> Tensor:
    angle = torch.tensor(angles, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


# --- the figures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relevant", "r", "r_precision", "map_at_r"),
    [
        ([1, 0, 1], 3, 2 / 3, 0.5555555556),
        ([0, 1, 1], 3, 2 / 3, 0.3888888889),
        ([1, 1, 0, 1], 3, 2 / 3, 2 / 3),
        ([1] + [0] * 9, 10, 0.1, 0.1),
        ([1] + [0] * 8 + [1], 10, 0.2, 0.12),
        ([1, 1] + [0] * 8, 10, 0.2, 0.2),
        ([1] * 10, 10, 1.0, 1.0),
    ],
)
def test_rankings_by_hand(relevant: list[int], r: int, r_precision: float, map_at_r: float) -> None:
    ranking = relevant + [0] * 5 + [1] * (r - sum(relevant))
    gallery = on_circle([0.1 * (i + 1) for i in range(len(ranking))])
    labels = torch.tensor([5 if hit else 8 for hit in ranking])
    metrics = retrieval_metrics(on_circle([0.0]), torch.tensor([5]), gallery, labels)
    assert metrics.precision_at_1 == relevant[0]
    assert metrics.r_precision == pytest.approx(r_precision)
    assert metrics.map_at_r == pytest.approx(map_at_r)
    assert metrics.per_query.first_hit.tolist() == [relevant.index(1) + 1]


def test_six_points_on_a_line() -> None:
    points, labels = [0, 1, 2.5, 4.1, 4.6, 7], torch.tensor([0, 0, 1, 0, 1, 1])
    metrics = retrieval_metrics(on_circle([0.1 * p for p in points]), labels)
    assert metrics.precision_at_1 == 0.5
    assert metrics.per_query.r_precision.tolist() == [0.5, 0.5, 0, 0, 0.5, 0.5]
    assert metrics.per_query.map_at_r.tolist() == [0.5, 0.5, 0, 0, 0.25, 0.5]
    assert metrics.map_at_r == pytest.approx(0.2916666667)


@pytest.mark.parametrize("make", [clustered, tied])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_a_loop(make: Callable[[int], tuple[Tensor, Tensor]], seed: int) -> None:
    x, y = make(seed)
    expected = loop(x.tolist(), y.tolist(), x.tolist(), y.tolist(), alone=True)
    assert expected["num_lone"] >= 1
    metrics = retrieval_metrics(x, y)
    agree(metrics, expected)
    found = [label for label in y.tolist() if y.tolist().count(label) > 1]  # as they came
    assert metrics.per_query.label.tolist() == found


@pytest.mark.parametrize("make", [clustered, tied])
def test_a_gallery_equal_to_a_loop(make: Callable[[int], tuple[Tensor, Tensor]]) -> None:
    (x, y), (gallery, gallery_labels) = make(5), make(6)
    y[:3] = 40  # in no gallery
    gallery, gallery_labels = gallery[:70], gallery_labels[:70]
    expected = loop(x.tolist(), y.tolist(), gallery.tolist(), gallery_labels.tolist(), alone=False)
    assert expected["num_lone"] >= 3
    agree(retrieval_metrics(x, y, gallery, gallery_labels), expected)


def pml(x: Tensor, y: Tensor, *reference: Tensor, macro: bool = False) -> dict[str, float]:
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(
        include=names,
        avg_of_avgs=macro,
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=CustomKNN(CosineSimilarity()),
        kmeans_func=lambda *_: None,  # the default needs faiss
    )
    return dict(calculator.get_accuracy(x, y, *reference, include=names))


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_pytorch_metric_learning(seed: int) -> None:
    (x, y), (gallery, gallery_labels) = clustered(seed), clustered(seed + 10)
    for reference in ((), (gallery, gallery_labels)):
        metrics, expected = retrieval_metrics(x, y, *reference), pml(x, y, *reference)
        assert metrics.precision_at_1 == pytest.approx(expected["precision_at_1"])
        assert metrics.r_precision == pytest.approx(expected["r_precision"])
        assert metrics.map_at_r == pytest.approx(expected["mean_average_precision_at_r"])
        macro = pml(x, y, *reference, macro=True)["mean_average_precision_at_r"]
        assert metrics.macro_map_at_r == pytest.approx(macro)
        assert macro != pytest.approx(metrics.map_at_r)


def test_precision_at_1_is_that_of_knn() -> None:
    (x, y), (bank, bank_labels) = clustered(3), clustered(4)
    y[y > 15] = 0  # kNN counts queries of absent classes as wrong, retrieval leaves them out
    top1 = knn_top1(x, y, bank, bank_labels, 22, ks=[1])[1]
    assert retrieval_metrics(x, y, bank, bank_labels).precision_at_1 == pytest.approx(top1)
    assert pml(x, y, bank, bank_labels)["precision_at_1"] == pytest.approx(top1)


# --- what must not score well ---------------------------------------------------------------------


def sorted_and_shuffled() -> list[Tensor]:
    labels = torch.arange(20).repeat_interleave(15)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    return [labels, labels[order]]


@pytest.mark.parametrize("labels", sorted_and_shuffled(), ids=["sorted", "shuffled"])
@pytest.mark.parametrize("value", [0.0, 3.7], ids=["zero", "constant"])
def test_collapsed_embeddings_score_at_chance(labels: Tensor, value: float) -> None:
    metrics = retrieval_metrics(torch.full((300, 24), value), labels)
    assert metrics.chance_precision_at_1 == pytest.approx(14 / 299)
    assert metrics.precision_at_1 == pytest.approx(14 / 299, abs=0.01)
    assert metrics.map_at_r < 0.06
    assert metrics.r_precision < 0.06


@pytest.mark.parametrize("labels", sorted_and_shuffled(), ids=["sorted", "shuffled"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_diverged_embeddings_find_nothing(labels: Tensor, bad: float) -> None:
    lost = retrieval_metrics(torch.full((300, 24), bad), labels)
    assert (lost.precision_at_1, lost.map_at_r, lost.recall_at[10]) == (0, 0, 0)
    healthy = torch.nn.functional.one_hot(labels).float()
    assert retrieval_metrics(healthy, labels).map_at_r == 1
    healthy[labels == 0, 1] = bad  # one class of 20
    metrics = retrieval_metrics(healthy, labels)
    assert metrics.map_at_r == metrics.macro_map_at_r == pytest.approx(0.95)


def test_permuted_labels_score_at_chance() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(1500) % 10
    x = torch.nn.functional.one_hot(labels, 16) + 0.2 * torch.randn(1500, 16, generator=generator)
    assert retrieval_metrics(x, labels).precision_at_1 > 0.9
    tops = []
    for _ in range(4):
        permuted = labels[torch.randperm(1500, generator=generator)]
        tops.append(retrieval_metrics(x, permuted).precision_at_1)
    chance = 149 / 1499
    assert retrieval_metrics(x, labels).chance_precision_at_1 == pytest.approx(chance)
    assert np.mean(tops) == pytest.approx(chance, abs=4 * (chance * 0.9 / 6000) ** 0.5)


def test_labels_above_2_to_the_24() -> None:
    x, y = clustered(8)
    big = y * 1 + 2**40  # neighbours collide in float32
    assert big.float().unique().numel() == 1
    assert retrieval_metrics(x, big)[:5] == retrieval_metrics(x, y)[:5]
    assert retrieval_metrics(x, y).map_at_r < 0.9


def test_lone_classes_are_left_out_counted_and_still_distract() -> None:
    x = on_circle([0.0, 0.1, 0.2, 3.0])
    metrics = retrieval_metrics(x, torch.tensor([4, 9, 4, 6]))
    assert (metrics.num_queries, metrics.num_lone, metrics.num_classes) == (2, 2, 1)
    assert (metrics.precision_at_1, metrics.recall_at[5]) == (0, 1)
    assert metrics.per_query.label.tolist() == [4, 4]
    assert metrics.chance_precision_at_1 == pytest.approx(1 / 3)


def test_unlabelled_rows_are_left_out() -> None:
    x, y = clustered(9)
    expected = retrieval_metrics(x[20:], y[20:], x[:80], y[:80])
    y_queries, y_gallery = y.clone(), y.clone()
    y_queries[:20] = y_gallery[80:] = -1
    assert retrieval_metrics(x, y_queries, x, y_gallery)[:9] == expected[:9]


# --- how it is computed ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [clustered, tied])
def test_chunks_do_not_change_the_result(
    make: Callable[[int], tuple[Tensor, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = make(11)
    whole, neighbors = retrieval_metrics(x, y), nearest(x, 9)
    monkeypatch.setattr(retrieval, "_CHUNK_FLOATS", 7 * len(x))
    steps: list[tuple[int, int]] = []
    pieces = retrieval_metrics(x, y, progress=lambda done, total: steps.append((done, total)))
    assert pieces[:9] == whole[:9]
    for a, b in zip(pieces.per_query, whole.per_query, strict=True):
        assert torch.equal(a, b)
    assert steps[0] == (7, whole.num_queries)
    assert steps[-1] == (whole.num_queries, whole.num_queries)
    assert torch.equal(nearest(x, 9), neighbors)


def test_nearest_equal_to_a_loop() -> None:
    x, _ = tied(12)
    expected = []
    for q in range(len(x)):
        others = [i for i in range(len(x)) if i != q]
        expected.append(sorted(others, key=lambda i: (-float(x[q] @ x[i]), i))[:6])
    assert nearest(x, 6).tolist() == expected
    rows = torch.tensor([5, 2, 80])
    assert nearest(x, 6, rows).tolist() == [expected[5], expected[2], expected[80]]
    assert nearest(x[:4], 100).shape == (4, 3)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8], ids=str
)
def test_any_type(dtype: torch.dtype) -> None:
    x, y = clustered(13)
    x = (20 * x + 100).clamp(0, 255).to(dtype)
    assert retrieval_metrics(x, y)[:9] == retrieval_metrics(x.float(), y)[:9]


def test_large_classes_are_ranked_to_their_end() -> None:
    x, _ = tied(14, 400)
    y = (torch.arange(400) >= 370).long()  # R of 369 and of 29
    agree(retrieval_metrics(x, y), loop(x.tolist(), y.tolist(), x.tolist(), y.tolist(), alone=True))


def test_errors() -> None:
    x, y = clustered(15)
    for said, call in {
        "120 embeddings but 119 labels": lambda: retrieval_metrics(x, y[1:]),
        "none of the 120 labelled images": lambda: retrieval_metrics(x, torch.arange(120)),
        "none of the 0 labelled images": lambda: retrieval_metrics(x, -torch.ones_like(y)),
        "give gallery and gallery_labels": lambda: retrieval_metrics(x, y, x),
        "8 dimensions, a gallery of 4": lambda: retrieval_metrics(x, y, x[:, :4], y),
        r"ks is \[0\]": lambda: retrieval_metrics(x, y, ks=[0]),
        "k=0 nearest of 120": lambda: nearest(x, 0),
        "num_resamples=0": lambda: class_bootstrap(x[:, 0], y, 0),
        "no row has a label": lambda: clustering_metrics(x, -torch.ones_like(y)),
        "embeddings hold NaN": lambda: clustering_metrics(x * torch.nan, y),
    }.items():
        with pytest.raises(UserError, match=said) as error:
            call()
        assert "\n" not in str(error.value)


# --- the interval ---------------------------------------------------------------------------------


def test_class_bootstrap_spans_the_spread_of_classes() -> None:
    generator = torch.Generator().manual_seed(3)
    means = torch.randn(60, generator=generator).double()
    labels = torch.arange(60).repeat_interleave(25)
    values = means[labels] + 0.1 * torch.randn(1500, generator=generator)
    low, high = class_bootstrap(values, labels, 4000)
    per_class = values.view(60, 25).mean(1)
    half = 1.96 * float(per_class.std(correction=0)) / 60**0.5  # the normal approximation
    assert (high + low) / 2 == pytest.approx(float(values.mean()), abs=0.1 * half)
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)
    assert class_bootstrap(values, labels, 4000) == (low, high)
    order = torch.randperm(1500, generator=generator)
    shuffled = class_bootstrap(values[order], labels[order], 4000)
    assert shuffled == pytest.approx((low, high))


def test_class_bootstrap_weighs_queries_alike() -> None:
    # Two classes, of 1 and of 3 queries: the resamples' means are 1, 1/4 or 0.
    low, high = class_bootstrap(torch.tensor([1.0, 0, 0, 0]), torch.tensor([2, 5, 5, 5]))
    assert (low, high) == (0, 1)
    values, labels = torch.tensor([4.0, 0, 0, 0]), torch.tensor([2, 5, 5, 5])
    draws = {class_bootstrap(values, labels, 1, seed)[0] for seed in range(30)}
    assert draws == {0.0, 1.0, 4.0}


# --- clustering -----------------------------------------------------------------------------------


def test_clustering_by_hand() -> None:
    scores = score_clusters(torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 1, 1]))
    assert scores.nmi == pytest.approx(0.4787039714)
    assert scores.f1 == pytest.approx(0.6153846154)


def test_pairwise_f1_equal_to_a_loop_and_ami_near_0_for_random_clusters() -> None:
    generator = torch.Generator().manual_seed(4)
    labels, clusters = torch.randint(6, (2, 150), generator=generator)
    pairs = list(itertools.combinations(range(150), 2))
    same = [(labels[i] == labels[j], clusters[i] == clusters[j]) for i, j in pairs]
    tp = sum(bool(a and b) for a, b in same)
    precision, recall = tp / sum(bool(b) for _, b in same), tp / sum(bool(a) for a, _ in same)
    scores = score_clusters(labels, clusters)
    assert scores.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert abs(scores.ami) < 0.03 < scores.nmi


def test_k_means_finds_clear_classes_at_any_length() -> None:
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(90) % 3
    labels[0] = -1
    x = torch.nn.functional.one_hot(torch.arange(90) % 3, 5) + 0.02 * torch.randn(
        90, 5, generator=generator
    )
    x = x * torch.rand(90, 1, generator=generator) * 100  # only directions matter
    assert clustering_metrics(x, labels) == (1, 1, 1)
    collapsed = clustering_metrics(torch.ones(90, 5), labels)
    assert (collapsed.nmi, collapsed.ami) == (0, 0)


def test_the_seed_is_that_of_k_means() -> None:
    from sklearn.cluster import KMeans

    x, labels = clustered(16)
    unit = nn.functional.normalize(x, dim=1).numpy()
    scores = [clustering_metrics(x, labels, seed) for seed in (0, 5)]
    for seed, found in zip((0, 5), scores, strict=True):
        clusters = KMeans(len(labels.unique()), random_state=seed).fit(unit).labels_
        assert found == score_clusters(labels, torch.from_numpy(clusters))
    assert scores[0] != scores[1]


# --- the protocol ---------------------------------------------------------------------------------


class Pixels(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def make_task(cfg: DictConfig, **options: Any) -> Task:
    data: DataModule = instantiate(cfg.data)
    cpu = torch.device("cpu")
    return Task("raw pixels", Pixels(), data.preprocess, lambda: data, 0, cpu, **options)


def protocol(**knobs: Any) -> Retrieval:
    path = Path(__file__).parents[1] / "conf" / "protocol" / "retrieval.yaml"
    settings = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(settings, dict)
    assert settings.pop("_target_") == "ssl_zoo.protocols.retrieval.Retrieval"
    return Retrieval(**{**settings, "num_resamples": 50, **knobs})


def pooled(task: Task, *splits: str) -> Features:
    chosen = [getattr(task.features, split) for split in splits]
    return Features(
        torch.cat([part.representation for part in chosen]),
        torch.cat([part.label for part in chosen]),
    )


def part(pool: Features, classes: list[int]) -> Features:
    rows = [i for i, label in enumerate(pool.label.tolist()) if label in classes]
    return Features(pool.representation[rows], pool.label[rows])


def test_scores_of_a_data_set(make_config: Callable[..., DictConfig]) -> None:
    task = make_task(make_config())
    scores = protocol(mode="contiguous").score(task)
    names = sorted(task.data.class_names)
    ids = [task.data.class_names.index(name) for name in names]
    pool = pooled(task, "train", "val", "test")
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
    task = make_task(cfg)
    split = task.data.class_split
    assert split is not None
    scores = protocol(mode="contiguous").score(task)
    test = pml(*task.features.test)["mean_average_precision_at_r"]
    assert sorted(task.features.test.label.unique().tolist()) == split.test
    assert scores["test_map_at_r"] == pytest.approx(test)
    assert scores["num_val_folds"] == len(split.folds) == 2

    # What was trained on this data's train classes is chosen on the fold that it did not see.
    data = task.data
    task.seen_classes = frozenset(data.class_names[i] for i in task.features.train.label.tolist())
    scores = protocol().score(task)
    on_val = pml(*task.features.val)["mean_average_precision_at_r"]
    assert scores["val_map_at_r"] == pytest.approx(on_val)
    assert (scores["val_map_at_r_sem"], scores["num_val_folds"]) == (None, 1)
    assert (scores["val_classes_seen"], scores["test_classes_seen"]) == (0, 0)
    task.seen_classes = frozenset(data.class_names)
    scores = protocol().score(task)
    assert (scores["num_val_folds"], scores["test_classes_seen"]) == (2, 5)
    task.seen_classes = None
    assert protocol().score(task)["test_classes_seen"] is None


def test_images_of_the_test_split_alone(make_config: Callable[..., DictConfig]) -> None:
    task = make_task(make_config())
    scores = protocol(mode="contiguous", images="test").score(task)
    ids = [task.data.class_names.index(name) for name in sorted(task.data.class_names)]
    test = part(task.features.test, ids[5:])
    assert scores["num_test_images"] == len(test.label) < 60
    expected = pml(*test)["mean_average_precision_at_r"]
    assert scores["test_map_at_r"] == pytest.approx(expected)
    split = make_task(make_config("dataset.class_split=hash"))
    with pytest.raises(UserError, match=r"protocol\.retrieval\.images=test: no validation class"):
        protocol(images="test").score(split)
    with pytest.raises(UserError, match=r"protocol\.retrieval\.images=val"):
        protocol(images="val")


def test_weak_measures_on_request(
    make_config: Callable[..., DictConfig], caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(make_config("dataset.class_split=hash"))
    with caplog.at_level(logging.WARNING, "ssl_zoo"):
        scores = protocol(clustering=True).score(task)
    (line,) = [record.message for record in caplog.records if "weak measures" in record.message]
    assert "\n" not in line
    expected = clustering_metrics(*task.features.test, seed=task.seed)
    assert {name: scores[f"weak_{name}"] for name in ("nmi", "ami", "f1")} == expected._asdict()


def test_the_test_labels_move_no_val_score(make_config: Callable[..., DictConfig]) -> None:
    task = make_task(make_config("dataset.class_split=hash"))
    before = protocol().score(task)
    train, val, test = task.features
    turned = test.label[torch.randperm(len(test.label), generator=torch.Generator().manual_seed(0))]
    task.__dict__["features"] = type(task.features)(train, val, test._replace(label=turned))
    after = protocol().score(task)
    for name in before:
        if name.startswith("val_"):
            assert after[name] == before[name]
    assert after["test_map_at_r"] < before["test_map_at_r"]


@pytest.mark.parametrize("images", ["all", "test"])
def test_the_gallery_shows_the_images_it_ranked(
    make_config: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: str,
) -> None:
    task = make_task(make_config(), figure_stem=tmp_path / "retrieval")
    shown: list[Any] = []
    real = __import__("ssl_zoo.figures", fromlist=["save_gallery"]).save_gallery
    monkeypatch.setattr(
        "ssl_zoo.protocols.retrieval.save_gallery", lambda *args: (shown.append(args), real(*args))
    )
    protocol(images=images).score(task)
    assert (tmp_path / "retrieval_gallery.png").is_file()
    ((queries, neighbors, correct, _),) = shown
    assert len(queries) == len(neighbors) == len(correct) == 8
    assert all(image.dtype == torch.uint8 for row in (queries, *neighbors) for image in row)

    # Pixels are the features here, so the pictures themselves tell which rows they are.
    pool = pooled(task, *(("train", "val", "test") if images == "all" else ("test",)))
    features = nn.functional.normalize(pool.representation, dim=1)

    def find(picture: Tensor) -> int:
        own = nn.functional.normalize(task.preprocess.normalize(picture)[None].flatten(1), dim=1)
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
