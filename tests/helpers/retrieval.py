"""Clustered embeddings, and the measures of pytorch-metric-learning."""

from __future__ import annotations

import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch import Tensor


def clustered(seed: int, num_images: int = 120, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Noisy classes of very unequal size, two of them of one image."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(num_images, generator=generator) ** 2 * 9).long()
    labels[7], labels[60] = 20, 21
    centres = torch.randn(22, dim, generator=generator)
    return centres[labels] + torch.randn(num_images, dim, generator=generator), labels


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
