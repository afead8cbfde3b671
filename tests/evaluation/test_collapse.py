"""Measures of collapse against figures worked out by hand and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_zoo.evaluation import (
    class_share,
    effective_rank,
    embedding_std,
    sample_rows,
    sigreg,
    variance_directions,
)
from ssl_zoo.losses import SIGReg


def with_singular_values(values: list[float]) -> Tensor:
    """A (7, len(values)) matrix with these singular values, rotated on both sides."""
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(7, len(values), generator=generator)).Q
    right = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator)).Q
    return left @ torch.diag(torch.tensor(values)) @ right


def test_std_of_a_cross() -> None:
    cross = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert embedding_std(cross).item() == pytest.approx(0.7071067812 * math.sqrt(2), rel=1e-6)


def test_std_equals_a_loop() -> None:
    z = torch.randn(50, 12, generator=torch.Generator().manual_seed(0)) + 0.5
    unit = [[v / math.hypot(*row) for v in row] for row in z.tolist()]
    deviations = []
    for channel in zip(*unit, strict=True):
        mean = sum(channel) / 50
        deviations.append(math.sqrt(sum((v - mean) ** 2 for v in channel) / 50))
    expected = sum(deviations) / 12 * math.sqrt(12)
    assert embedding_std(z).item() == pytest.approx(expected, rel=1e-5)
    assert expected < 0.95  # a shifted cloud is not healthy, so a missing factor would show


def test_std_ignores_lengths() -> None:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(40, 6, generator=generator)
    length = torch.rand(40, 1, generator=generator) + 0.1
    torch.testing.assert_close(embedding_std(z * length), embedding_std(z))


def test_std_of_healthy_and_collapsed_embeddings() -> None:
    z = torch.randn(4096, 128, generator=torch.Generator().manual_seed(0))
    assert embedding_std(z).item() == pytest.approx(1, abs=1e-3)
    assert embedding_std(z[:1].expand(64, -1)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0], 4.000000618),
        ([4.0, 2.0, 1.0, 1.0], 3.363586414),
        ([5.0, 0.0, 0.0, 0.0], 1.000004735),
    ],
)
def test_rank_of_known_singular_values(values: list[float], expected: float) -> None:
    z = with_singular_values(values)
    assert effective_rank(z.double()).item() == pytest.approx(expected, rel=3e-6)
    # Diagonal matrices keep every digit, so that the term 1e-7 shows.
    exact = torch.diag(torch.tensor(values, dtype=torch.float64))
    assert effective_rank(exact).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(40, 10), (10, 40), (1, 8)])
def test_rank_equals_numpy_uncentred(shape: tuple[int, int]) -> None:
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    singular = np.linalg.svd(z.numpy(), compute_uv=False)
    p = singular / singular.sum() + 1e-7
    assert effective_rank(z).item() == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-10)


@pytest.mark.parametrize("shape", [(8, 4), (4, 8), (1, 4)])
def test_zeros_are_collapsed(shape: tuple[int, int]) -> None:
    assert embedding_std(torch.zeros(shape)).item() == 0
    assert effective_rank(torch.zeros(shape)).item() == pytest.approx(1, abs=1e-4)


def test_one_row_is_collapsed() -> None:
    row = torch.tensor([[1.0, 2.0, 3.0]])
    assert embedding_std(row).item() == 0
    assert effective_rank(row).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_give_nan(bad: float) -> None:
    z = torch.ones(6, 3)
    z[2, 1] = bad
    assert embedding_std(z).isnan()
    assert effective_rank(z).isnan()


@pytest.mark.parametrize("measure", [embedding_std, effective_rank])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(measure, dtype: torch.dtype) -> None:
    z = torch.randn(300, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert measure(z).dtype == torch.float32
    assert measure(z) == measure(z.float())


@pytest.mark.parametrize("measure", [embedding_std, effective_rank])
def test_no_gradient_is_kept(measure) -> None:
    assert not measure(torch.randn(8, 4, requires_grad=True)).requires_grad


@pytest.mark.slow
def test_rank_of_wide_embeddings_equals_numpy() -> None:
    """8,192 dimensions, of which few are used, in float32; the SVD is float64's."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(300, 20, generator=generator) @ torch.randn(20, 8192, generator=generator)
    z += 1e-3 * torch.randn(z.shape, generator=generator)
    singular = np.linalg.svd(z.double().numpy(), compute_uv=False)
    p = singular / singular.sum() + 1e-7
    assert effective_rank(z).item() == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_rank_ignores_the_scale(scale: float) -> None:
    z = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(effective_rank(z * scale), effective_rank(z), rtol=1e-5, atol=0)


def test_sigreg_is_the_statistic_that_lejepa_trains_on(double: None) -> None:
    z = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 2 + 0.3
    torch.testing.assert_close(sigreg(z), SIGReg(sigreg_weight=1)(z[None]), rtol=1e-12, atol=0)


def test_sigreg_of_a_gaussian_and_of_what_has_collapsed() -> None:
    """The values that its docstring states, from the integral by hand."""
    z = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0))
    assert sigreg(z).item() == pytest.approx(1.05, abs=0.1)
    assert sigreg(torch.zeros(2000, 16)).item() == pytest.approx(0.40 * 2000, rel=0.01)
    assert sigreg(1e3 * z).item() == pytest.approx(1.26 * 2000, rel=0.01)
    far = 1e3 * torch.ones(2000, 16)  # its slices are at many points
    assert sigreg(far).item() == pytest.approx(3.57 * 2000, rel=0.1)
    assert sigreg(0.01 * z) > 100 * sigreg(z)  # the directions are the same, as spread as before


def test_sigreg_is_a_function_of_the_embeddings_only() -> None:
    z = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    first = sigreg(z)
    torch.manual_seed(2)
    assert sigreg(z) == first
    assert sigreg(z.half()).dtype == torch.float32
    z[3, 2] = math.nan
    assert sigreg(z).isnan()


def test_a_sample_has_every_class_of_data_that_repeat_them() -> None:
    """Every tenth of ten classes in turn would be one class."""
    rows = torch.arange(1000)
    sample = sample_rows(rows, 100)
    assert len(sample) == 100
    assert sample.tolist() == sorted(set(sample.tolist()))
    assert len((sample % 10).unique()) == 10
    assert sample_rows(rows, 100).equal(sample)
    assert sample_rows(rows, 1000).equal(rows)


@pytest.mark.parametrize("shape", [(60, 8), (20, 50)])
def test_directions_equal_the_eigenvalues_by_numpy(shape: tuple[int, int]) -> None:
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double() + 1
    unit = z.numpy() / np.linalg.norm(z.numpy(), axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(np.cov(unit.T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert variance_directions(z).item() == pytest.approx(expected, rel=1e-9)


def test_directions_of_a_line_a_triangle_and_a_point() -> None:
    corners = torch.nn.functional.one_hot(torch.arange(300) % 3).double()
    assert variance_directions(corners).item() == pytest.approx(2)
    assert variance_directions(corners[corners[:, 2] == 0]).item() == pytest.approx(1)
    assert variance_directions(torch.ones(9, 4)) == 0
    assert variance_directions(torch.full((9, 4), math.nan)).isnan()


def test_class_share_equals_omega_squared_by_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(50) % 4
    z = torch.randn(4, 3, generator=generator)[label] + torch.randn(50, 3, generator=generator)
    unit = torch.nn.functional.normalize(z, dim=1).double()
    groups = [unit[label == c] for c in range(4)]
    within = sum(float(((g - g.mean(0)) ** 2).sum()) for g in groups) / (50 - 4)
    between = sum(len(g) * float(((g.mean(0) - unit.mean(0)) ** 2).sum()) for g in groups)
    total = float(((unit - unit.mean(0)) ** 2).sum())
    expected = (between - 3 * within) / (total + within)
    assert class_share(z, label).item() == pytest.approx(expected, rel=1e-6)
    extra = torch.cat([z, 9 * torch.ones(7, 3)]), torch.cat([label, torch.full((7,), -1)])
    assert class_share(*extra).item() == pytest.approx(expected, rel=1e-6)


def test_class_share_of_chance_and_of_classes_that_are_points() -> None:
    z = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    assert class_share(z, torch.arange(400) % 130).abs() < 0.05  # three images of each class
    label = torch.arange(400) % 2
    assert class_share(z[label], label).item() == pytest.approx(1)
    assert class_share(z, torch.zeros(400).long()) == 0
    assert class_share(z, torch.arange(400)) == 0
    assert class_share(torch.ones(6, 2), torch.arange(6) % 2) == 0
