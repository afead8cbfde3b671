"""Pure functions that evaluate frozen features."""

from ssl_zoo.evaluation.classification import Answers, answers_of, majority
from ssl_zoo.evaluation.clustering import clustering_metrics
from ssl_zoo.evaluation.collapse import (
    class_share,
    effective_rank,
    embedding_std,
    sample_rows,
    sigreg,
    variance_directions,
)
from ssl_zoo.evaluation.few_shot import fit_nested, fraction_of, per_class
from ssl_zoo.evaluation.knn import knn_answers, knn_predict, knn_top1
from ssl_zoo.evaluation.lidar import lidar
from ssl_zoo.evaluation.linear import LinearGrid, LinearHeads, fit_linear
from ssl_zoo.evaluation.logistic import LogisticFit, fit_logistic
from ssl_zoo.evaluation.retrieval import class_bootstrap, nearest, retrieval_metrics

__all__ = [
    "Answers",
    "LinearGrid",
    "LinearHeads",
    "LogisticFit",
    "answers_of",
    "class_bootstrap",
    "class_share",
    "clustering_metrics",
    "effective_rank",
    "embedding_std",
    "fit_linear",
    "fit_logistic",
    "fit_nested",
    "fraction_of",
    "knn_answers",
    "knn_predict",
    "knn_top1",
    "lidar",
    "majority",
    "nearest",
    "per_class",
    "retrieval_metrics",
    "sample_rows",
    "sigreg",
    "variance_directions",
]
