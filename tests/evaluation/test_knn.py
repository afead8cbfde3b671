"""Weighted kNN against loops, scikit-learn and figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from ssl_zoo.evaluation import knn_predict, knn_top1, search
from ssl_zoo.types import UserError


def planar(similarities: list[float]) -> Tensor:
    """Unit vectors in the plane with the given cosines to (1, 0)."""
    cosine = torch.tensor(similarities)
    return torch.stack([cosine, (1 - cosine**2).sqrt()], dim=1)


def random_problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, their labels, bank, its labels: 60 and 150 rows in 8 dimensions, 5 classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, 8, generator=generator)
    query_labels = torch.randint(5, (60,), generator=generator)
    bank_labels = torch.randint(5, (150,), generator=generator)
    queries = centres[query_labels] + torch.randn(60, 8, generator=generator)
    bank = centres[bank_labels] + torch.randn(150, 8, generator=generator)
    return queries, query_labels, bank, bank_labels


def loop_scores(
    queries: Tensor, bank: Tensor, bank_labels: Tensor, num_classes: int, k: int, temperature: float
) -> list[list[float]]:
    """The definition, one pair at a time in Python floats, relative to the nearest neighbour."""
    scores = []
    for q in queries.tolist():
        cosines = []
        for i, b in enumerate(bank.tolist()):
            dot = sum(s * t for s, t in zip(q, b, strict=True))
            cosines.append((dot / math.hypot(*q) / math.hypot(*b), -i))
        nearest = sorted(cosines, reverse=True)[:k]
        row = [0.0] * num_classes
        for cosine, minus_i in nearest:
            row[int(bank_labels[-minus_i])] += math.exp((cosine - nearest[0][0]) / temperature)
        scores.append(row)
    return scores


@pytest.mark.parametrize(
    ("temperature", "ratio", "winner"),
    [(0.07, 2.801354267, 0), (0.1, 1.692019889, 0), (0.5, 0.6412110276, 1)],
)
def test_three_neighbours_by_hand(temperature: float, ratio: float, winner: int) -> None:
    scores = knn_predict(
        torch.tensor([[3.0, 0.0]]),
        planar([0.9, 0.8, 0.75]) * torch.tensor([[1.0], [5.0], [0.1]]),  # lengths do not matter
        torch.tensor([0, 1, 1]),
        num_classes=2,
        k=3,
        temperature=temperature,
    )
    assert (scores[0, 0] / scores[0, 1]).item() == pytest.approx(ratio, rel=1e-5)
    assert scores.argmax(1).item() == winner


@pytest.mark.parametrize("k", [1, 7, 150])
def test_scores_equal_a_loop(k: int) -> None:
    queries, _, bank, bank_labels = random_problem()
    scores = knn_predict(queries, bank, bank_labels, num_classes=6, k=k, temperature=0.1)
    expected = loop_scores(queries, bank, bank_labels, 6, k, 0.1)
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_agrees_with_scikit_learn() -> None:
    queries, _, bank, bank_labels = random_problem(1)
    reference = KNeighborsClassifier(
        n_neighbors=15,
        metric="cosine",
        weights=lambda distance: np.exp((1 - distance) / 0.07),
    ).fit(bank.double().numpy(), bank_labels.numpy())
    scores = knn_predict(queries, bank, bank_labels, num_classes=5, k=15)
    share = scores / scores.sum(1, keepdim=True)
    expected = torch.from_numpy(reference.predict_proba(queries.double().numpy())).float()
    torch.testing.assert_close(share, expected, rtol=1e-4, atol=1e-5)


def test_top1_of_each_k_equals_that_k_alone() -> None:
    queries, labels, bank, bank_labels = random_problem(2)
    top1 = knn_top1(queries, labels, bank, bank_labels, 5, ks=[1, 9, 1000], temperature=0.2)
    assert list(top1) == [1, 9, 1000]
    for k, value in top1.items():
        expected = torch.tensor(loop_scores(queries, bank, bank_labels, 5, k, 0.2))
        hits = (expected.argmax(1) == labels).sum().item()
        assert value == pytest.approx(hits / 60)
    assert len(set(top1.values())) == 3


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, labels, bank, bank_labels = random_problem(3)
    whole = knn_predict(queries, bank, bank_labels, 5)
    top1 = knn_top1(queries, labels, bank, bank_labels, 5, ks=[5])
    monkeypatch.setattr(search, "_CHUNK_FLOATS", 150 * 7)  # 60 queries: 8 chunks of 7 and one of 4
    torch.testing.assert_close(knn_predict(queries, bank, bank_labels, 5), whole)
    assert knn_top1(queries, labels, bank, bank_labels, 5, ks=[5]) == top1


def test_equal_neighbours_are_taken_by_index() -> None:
    # 3 near rows, then 40 equal ones of which the first 2 have places; one far row comes first.
    bank = torch.cat([planar([-0.5]), planar([0.5]).expand(20, 2), planar([0.9]).expand(3, 2)])
    bank = torch.cat([bank, planar([0.5]).expand(20, 2)])
    labels = torch.arange(44)
    scores = knn_predict(torch.tensor([[1.0, 0.0]]), bank, labels, num_classes=44, k=5)
    assert scores[0].nonzero().flatten().tolist() == [1, 2, 21, 22, 23]


def test_smaller_k_of_equal_neighbours_are_the_first() -> None:
    bank = planar([0.5]).expand(30, 2)
    query = torch.tensor([[1.0, 0.0]])
    labels = torch.tensor([1, 0, 0] + [2] * 27)
    answers = {}
    for truth in range(3):
        top1 = knn_top1(query, torch.tensor([truth]), bank, labels, 3, ks=[1, 3, 30])
        answers |= {k: truth for k, hit in top1.items() if hit == 1.0}
    assert answers == {1: 1, 3: 0, 30: 2}


def test_collapsed_embeddings_score_at_chance() -> None:
    labels = torch.arange(400) % 10
    collapsed = torch.ones(400, 16)
    top1 = knn_top1(collapsed, labels, collapsed, labels, 10, ks=[1, 20, 200])
    assert top1 == {1: 0.1, 20: 0.1, 200: 0.1}


def test_diverged_embeddings_do_no_harm() -> None:
    queries, labels, bank, bank_labels = random_problem(4)
    spoiled = torch.cat([bank, torch.full((50, 8), torch.nan)])
    spoiled_labels = torch.cat([bank_labels, torch.zeros(50, dtype=torch.int64)])
    torch.testing.assert_close(
        knn_predict(queries, spoiled, spoiled_labels, 5), knn_predict(queries, bank, bank_labels, 5)
    )
    lost = torch.full_like(queries, torch.nan)
    assert knn_top1(lost, labels, bank, bank_labels, 5)[20] < 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type(dtype: torch.dtype) -> None:
    queries, _, bank, bank_labels = random_problem(5)
    queries, bank = queries.to(dtype), bank.to(dtype)
    scores = knn_predict(queries, bank, bank_labels, 5)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, knn_predict(queries.float(), bank.float(), bank_labels, 5))


def test_small_temperatures_stay_finite() -> None:
    queries, _, bank, bank_labels = random_problem(6)
    scores = knn_predict(queries, bank, bank_labels, 5, temperature=1e-3)  # exp(1000) overflows
    assert scores.isfinite().all()
    assert scores.amax(1).min() >= 1


def test_unlabelled_rows_are_left_out() -> None:
    queries, labels, bank, bank_labels = random_problem(7)
    expected = knn_top1(queries[10:], labels[10:], bank[30:], bank_labels[30:], 5, ks=[1, 20])
    labels[:10] = -1
    bank_labels[:30] = -1
    assert knn_top1(queries, labels, bank, bank_labels, 5, ks=[1, 20]) == expected


def test_user_errors() -> None:
    queries, labels, bank, bank_labels = random_problem(8)
    none = torch.full_like(bank_labels, -1)
    with pytest.raises(UserError, match="kNN bank: none of the 150 rows has a label"):
        knn_predict(queries, bank, none, 5)
    with pytest.raises(UserError, match="kNN queries: none of the 60 rows has a label"):
        knn_top1(queries, none[:60], bank, bank_labels, 5)
    with pytest.raises(UserError, match=r"label 4 needs num_classes >= 5, but num_classes is 4"):
        knn_predict(queries, bank, bank_labels, 4)
    with pytest.raises(UserError, match="150 feature rows but 149 labels"):
        knn_predict(queries, bank, bank_labels[1:], 5)
    with pytest.raises(UserError, match="k=0: must be at least 1"):
        knn_predict(queries, bank, bank_labels, 5, k=0)
    with pytest.raises(UserError, match=r"temperature=0(\.0)?: must be above 0"):
        knn_predict(queries, bank, bank_labels, 5, temperature=0.0)
    with pytest.raises(UserError, match=r"ks is \[\]"):
        knn_top1(queries, labels, bank, bank_labels, 5, ks=[])
