"""LiDAR against NumPy from the paper's text, and what it is made for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_zoo.evaluation import effective_rank, lidar
from ssl_zoo.types import BadValue


def by_numpy(views: np.ndarray, delta: float) -> float:
    """The paper's section 3 word by word: D x D matrices, a root by eigenvectors."""
    n, q, dim = views.shape
    mu = views.mean(axis=1)
    between = sum(np.outer(m - mu.mean(axis=0), m - mu.mean(axis=0)) for m in mu) / (n - 1)
    within = delta * np.eye(dim)
    for x in range(n):
        for view in views[x]:
            within += np.outer(view - mu[x], view - mu[x]) / (n * (q - 1))
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ between @ root).clip(min=0)
    p = eigenvalues / np.abs(eigenvalues).sum() + 1e-7
    return float(np.exp(-(p * np.log(p)).sum()))


def drawn(n: int, q: int, dim: int, noise: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(n, 1, dim, generator=generator, dtype=torch.float64)
    return image + noise * torch.randn(n, q, dim, generator=generator, dtype=torch.float64) + 2


@pytest.mark.parametrize("shape", [(30, 4, 6), (8, 5, 20), (70, 2, 5), (2, 2, 3)])
@pytest.mark.parametrize("delta", [1e-4, 1.0])
def test_equals_the_paper_in_numpy(shape: tuple[int, int, int], delta: float) -> None:
    views = drawn(*shape)
    views[..., 0] *= 20
    assert lidar(views, delta).item() == pytest.approx(by_numpy(views.numpy(), delta), rel=1e-8)


def test_two_directions_by_hand() -> None:
    """Variances 4 and 1 between images, 1 and 1 within them: eigenvalues as 4 to 1."""
    means = torch.tensor([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])
    step = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    value = lidar(means[:, None] + step, delta=1e-12).item()
    assert value == pytest.approx(math.exp(-0.8 * math.log(0.8) - 0.2 * math.log(0.2)), rel=1e-5)


def test_counts_what_the_views_agree_on() -> None:
    """Where effective rank counts the directions in which the views differ as well."""
    views = drawn(200, 10, 40, noise=0.01)
    views[..., 5:] = torch.randn(200, 10, 35, generator=torch.Generator().manual_seed(1))
    assert lidar(views) < 6
    assert effective_rank(views[:, 0]) > 30


def test_an_invertible_map_changes_nothing() -> None:
    views = drawn(100, 5, 8)
    mapped = views @ torch.randn(8, 8, generator=torch.Generator().manual_seed(3)).double() + 7
    assert lidar(mapped, 1e-9).item() == pytest.approx(lidar(views, 1e-9).item(), rel=1e-4)


def test_collapsed_and_broken_embeddings() -> None:
    assert lidar(torch.ones(20, 3, 6)).item() == pytest.approx(1, abs=1e-4)
    line = torch.randn(50, 1, 1, generator=torch.Generator().manual_seed(0)).expand(50, 3, 6)
    assert lidar(line).item() == pytest.approx(1, abs=1e-4)
    broken = torch.ones(4, 2, 3)
    broken[0, 1, 2] = math.inf
    assert lidar(broken).isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_is_computed_in_float64(dtype: torch.dtype) -> None:
    views = drawn(80, 3, 7).to(dtype)
    assert lidar(views) == lidar(views.double())


@pytest.mark.parametrize("shape", [(1, 5, 4), (5, 1, 4)])
def test_too_little_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(BadValue, match="two images of two views"):
        lidar(torch.zeros(shape))


@pytest.mark.parametrize("delta", [0.0, -1.0, math.nan, math.inf])
def test_delta_must_be_above_0(delta: float) -> None:
    with pytest.raises(BadValue, match="delta"):
        lidar(torch.zeros(3, 2, 2), delta)
