"""Clustering measures of embeddings. They are weak: see `clustering_metrics`."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_zoo.evaluation.rows import check_finite, known_rows, unit_rows
from ssl_zoo.types import UserError


class ClusteringMetrics(NamedTuple):
    """How clusters match classes.

    Attributes:
        nmi: Normalised mutual information, 2 I / (H(labels) + H(clusters)), in [0, 1].
        ami: The same adjusted for chance: 0 in expectation for random clusters, at most 1.
        f1: Over pairs of images: being in one cluster predicts having one label.
    """

    nmi: float
    ami: float
    f1: float


def score_clusters(labels: Tensor, clusters: Tensor) -> ClusteringMetrics:
    """NMI, AMI and pairwise F1.

    Args:
        labels: (N,) int64.
        clusters: (N,) int64.

    Source: Manning et al. 2008 (Introduction to Information Retrieval), sec. 16.3; AMI: Vinh
    et al. 2010.
    """
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import pair_confusion_matrix

    truth, guess = labels.cpu().numpy(), clusters.cpu().numpy()
    (_, fp), (fn, tp) = pair_confusion_matrix(truth, guess).tolist()
    return ClusteringMetrics(
        nmi=float(normalized_mutual_info_score(truth, guess)),
        ami=float(adjusted_mutual_info_score(truth, guess)),
        f1=2 * tp / max(1, 2 * tp + fp + fn),
    )


def clustering_metrics(embeddings: Tensor, labels: Tensor, seed: int = 0) -> ClusteringMetrics:
    """NMI, AMI and F1 of k-means clusters of the embeddings, k = the number of classes.

    Weak measures: they depend on the clustering and its seed as well as on the embeddings, NMI
    rises with the number of clusters whatever the embeddings are, and spaces that retrieval
    distinguishes score the same. Report them only beside MAP@R.

    Args:
        embeddings: (N, D), any float type; L2-normalised here.
        labels: (N,) int64; rows labelled -1 are left out.
        seed: For k-means.

    Raises:
        UserError: No row is labelled, or an embedding is not finite.

    Source: Musgrave et al. 2020 (A Metric Learning Reality Check), sec. 2.2, on their weakness.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    embeddings, labels = known_rows(embeddings.float().cpu(), labels.cpu(), "clustering")
    if not len(labels):
        raise UserError("clustering: no row has a label (-1 = none); use labelled data")
    check_finite(embeddings, "clustering")
    kmeans = KMeans(len(labels.unique()), random_state=seed)
    with warnings.catch_warnings():  # collapsed embeddings have fewer distinct points than k
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = kmeans.fit_predict(unit_rows(embeddings).numpy())
    return score_clusters(labels, torch.from_numpy(clusters))
