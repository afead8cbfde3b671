"""How much embeddings have collapsed, measured without labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_zoo.hardware import at_least_float32
from ssl_zoo.hashing import SAMPLE_STREAM, hash_int64
from ssl_zoo.losses.sigreg import gaussian_misfit, unit_slices

_SLICES_AT_ONCE = 256  # for the memory of N x 256 numbers at a time


@torch.no_grad()
def embedding_std(z: Tensor) -> Tensor:
    """Spread of L2-normalised embeddings: 1 = spread over the sphere, 0 = collapsed to a point.

    The std of each channel over the batch (divided by N, not N - 1), averaged over channels,
    times sqrt(D). The largest value, sqrt(D) / sqrt(D), needs zero mean and equal variances.

    Args:
        z: (N, D), any float type; normalised here.

    Returns:
        Scalar in [0, 1], float32 or wider; NaN if z holds NaN.

    Source: Chen & He 2021 (SimSiam), sec. 4.1.
    """
    unit = normalize(at_least_float32(z), dim=1)
    return unit.std(dim=0, correction=0).mean() * math.sqrt(z.shape[1])


@torch.no_grad()
def effective_rank(z: Tensor) -> Tensor:
    """RankMe, the number of directions that embeddings use: from 1 to min(N, D).

    exp of the entropy of p = s / sum(s) + 1e-7, with s the singular values of z, not centred.

    Args:
        z: (N, D), any float type.

    Returns:
        Scalar, float32 or wider; 1 for all zeros, NaN if z is not finite.

    Source: Garrido et al. 2023 (RankMe).
    """
    z = at_least_float32(z)
    if not z.isfinite().all():  # eigenvalues would raise
        return z.new_full((), torch.nan)
    return entropy_rank(_singular_values(z)).to(z.dtype)


def entropy_rank(spectrum: Tensor) -> Tensor:
    """How many of (K,) values s >= 0 count: exp of the entropy of p = s / sum(s) + 1e-7."""
    tiny = torch.finfo(spectrum.dtype).tiny
    p = spectrum / spectrum.sum().clamp_min(tiny) + 1e-7
    return (-p * p.log()).sum().exp()


def _singular_values(z: Tensor) -> Tensor:
    """The min(N, D) singular values of (N, D), up to a factor, from the smaller Gram matrix.

    In float64, in which squares keep what float32 resolves; many times as fast as an SVD.
    """
    z = z.double()
    gram = _small_gram(z / z.abs().max().clamp_min(torch.finfo(z.dtype).tiny))  # squares are finite
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram)
    return eigenvalues.clamp_min(0).sqrt()


def _small_gram(z: Tensor) -> Tensor:
    """The smaller of z^T z and z z^T, whose eigenvalues are the same but for zeros."""
    return z.T @ z if z.shape[0] > z.shape[1] else z @ z.T


@torch.no_grad()
def variance_directions(z: Tensor) -> Tensor:
    """In how many directions L2-normalised embeddings vary: from 1, a line, to min(N - 1, D).

    The participation ratio sum(l)^2 / sum(l^2) of the covariance's eigenvalues l. Unlike RankMe it
    does not count the many small ones of noise, nor the mean.

    Args:
        z: (N, D), any float type; normalised here.

    Returns:
        Scalar float64; 0 where nothing varies, NaN if z holds NaN.
    """
    unit = normalize(at_least_float32(z), dim=1).double()
    gram = _small_gram(unit - unit.mean(dim=0))
    tiny = torch.finfo(gram.dtype).tiny
    return gram.trace().square() / gram.square().sum().clamp_min(tiny)


@torch.no_grad()
def class_share(z: Tensor, label: Tensor) -> Tensor:
    """Which share of the variance of L2-normalised embeddings lies between the classes.

    Omega squared: embeddings that do not depend on the class have 0 on average, however many
    classes there are; those that are one point for each class have 1.

    Args:
        z: (N, D), any float type; normalised here.
        label: (N,), -1 = unlabelled, which is left out.

    Returns:
        Scalar float64; 0 if there is one class or no two images of a class.
    """
    known = label >= 0
    unit = normalize(at_least_float32(z[known]), dim=1).double()
    _, place, count = label[known].unique(return_inverse=True, return_counts=True)
    classes, images = len(count), len(unit)
    if classes < 2 or images <= classes:
        return unit.new_zeros(())
    means = unit.new_zeros(classes, unit.shape[1]).index_add_(0, place, unit) / count[:, None]
    within = (unit - means[place]).square().sum() / (images - classes)
    total = (unit - unit.mean(dim=0)).square().sum()
    between = total - (images - classes) * within
    tiny = torch.finfo(unit.dtype).tiny
    share: Tensor = (between - (classes - 1) * within) / (total + within).clamp_min(tiny)
    return share


@torch.no_grad()
def sigreg(z: Tensor, num_slices: int = 1024) -> Tensor:
    """LeJEPA's statistic of embeddings as they are: how far they are from N(0, I).

    The mean over random directions of N times the distance of the characteristic functions. The
    directions depend on D only, so that values are comparable from epoch to epoch and from run to
    run, for one N. Samples of N(0, I) have about 1.05, whatever N is. All zeros have 0.40 N,
    embeddings spread much wider than a unit 1.26 N, and one point far from zero 3.57 N.

    Args:
        z: (N, D), any float type, not normalised.
        num_slices: Directions.

    Returns:
        Scalar, float32 or wider; NaN if z is not finite.

    Source: Balestriero & LeCun 2025 (LeJEPA).
    """
    z = at_least_float32(z)
    slices = unit_slices(torch.arange(z.shape[1], device=z.device), num_slices, seed=0)
    parts = slices.to(z.dtype).split(_SLICES_AT_ONCE, dim=1)
    return torch.cat([gaussian_misfit(z @ part) for part in parts]).mean()


def sample_rows(rows: Tensor, most: int) -> Tensor:
    """At most this many of the (N, ...) rows, in their order: always the same ones of N."""
    if len(rows) <= most:
        return rows
    order = hash_int64(torch.arange(len(rows), device=rows.device), SAMPLE_STREAM)
    return rows[order.argsort()[:most].sort().values]
