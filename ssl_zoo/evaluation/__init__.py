"""Pure functions that judge frozen features."""

from ssl_zoo.evaluation.collapse import effective_rank, embedding_std
from ssl_zoo.evaluation.knn import knn_predict, knn_top1
from ssl_zoo.evaluation.linear import LinearGrid, fit_linear

__all__ = [
    "LinearGrid",
    "effective_rank",
    "embedding_std",
    "fit_linear",
    "knn_predict",
    "knn_top1",
]
