"""Retrieval against loops, pytorch-metric-learning and figures worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.retrieval import clustered, pml
from ssl_zoo.evaluation import (
    class_bootstrap,
    clustering_metrics,
    knn_top1,
    nearest,
    retrieval,
    retrieval_metrics,
    search,
)
from ssl_zoo.types import UserError

MEANS = ("precision_at_1", "r_precision", "map_at_r", "macro_map_at_r", "num_lone", "num_queries")


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
    monkeypatch.setattr(search, "_CHUNK_FLOATS", 7 * len(x))
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
        "120 feature rows but 119 labels": lambda: retrieval_metrics(x, y[1:]),
        "none of the 120 labelled images": lambda: retrieval_metrics(x, torch.arange(120)),
        "none of the 0 labelled images": lambda: retrieval_metrics(x, -torch.ones_like(y)),
        "give gallery and gallery_labels": lambda: retrieval_metrics(x, y, x),
        "8 dimensions, a gallery of 4": lambda: retrieval_metrics(x, y, x[:, :4], y),
        r"ks is \[0\]": lambda: retrieval_metrics(x, y, ks=[0]),
        "k=0 nearest of 120": lambda: nearest(x, 0),
        "num_resamples=0": lambda: class_bootstrap(x[:, 0], y, 0),
        "no row has a label": lambda: clustering_metrics(x, -torch.ones_like(y)),
        "features hold NaN": lambda: clustering_metrics(x * torch.nan, y),
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
