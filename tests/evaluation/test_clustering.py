"""Clustering measures by hand and against loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from helpers.retrieval import clustered
from ssl_zoo.evaluation import clustering_metrics
from ssl_zoo.evaluation.clustering import score_clusters


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
