"""LeJEPA's loss: equal views, whose embeddings have the distribution of an isotropic Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_zoo.hashing import SLICES_STREAM, uniform
from ssl_zoo.losses.base import StatisticLoss
from ssl_zoo.types import BadValue, check_number, check_whole


class SIGReg(StatisticLoss):
    """(1 - lambda) invariance + lambda SIGReg.

    Invariance is the mean squared distance of the views to the mean of an image's global views.
    SIGReg is a test of N(0, I): each view's embeddings on their own are projected on random unit
    vectors, the slices, and each slice's characteristic function is compared with a Gaussian's. The
    slices are the same on all ranks, and others at each step.

    Args:
        sigreg_weight: lambda, the weight of SIGReg; below it 1 - lambda is left for the invariance.
        num_slices: Projections of a step.
        num_global: The first views of an image, whose mean is the centre; None = all but
            multi-crop's small ones.
        t_max: The characteristic functions are compared from -t_max to t_max.
        num_points: At this many points from 0 to t_max; the other half is the same.
        seed: Of the slices.

    Raises:
        BadValue: If lambda is not in [0, 1], another number below 1, or `num_global` above the
            number of views that are not small.

    Source: Balestriero & LeCun 2025 (LeJEPA), the official code and its MINIMAL.md.
    """

    takes_small = True
    calls: Tensor

    def __init__(
        self,
        sigreg_weight: float = 0.05,
        num_slices: int = 1024,
        num_global: int | None = None,
        t_max: float = 3.0,
        num_points: int = 17,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_number("sigreg_weight", sigreg_weight, 0, 1)
        check_number("t_max", t_max, above=True)
        check_whole("num_slices", num_slices)
        check_whole("num_global", 1 if num_global is None else num_global)
        check_whole("num_points", num_points, least=2)
        self.sigreg_weight, self.num_global, self.num_slices = sigreg_weight, num_global, num_slices
        self.t_max, self.num_points, self.seed = t_max, num_points, seed
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def statistic(self, z: Tensor) -> Tensor:
        """The loss of (V, N, D)."""
        return self.statistic_with_small(z, num_large=len(z))

    def statistic_with_small(self, z: Tensor, num_large: int) -> Tensor:
        """The same; the mean of the large views is the centre."""
        if self.num_global is not None and self.num_global > num_large:
            views = f"at most {num_large}, the number of views that are not small"
            raise BadValue("num_global", self.num_global, views)
        centre = z[: self.num_global or num_large].mean(dim=0)
        invariance = (z - centre).square().mean()
        slices = self.draw_slices(z.shape[2], z.device).to(z.dtype)
        sigreg = gaussian_misfit(z @ slices, self.t_max, self.num_points).mean()
        return (1 - self.sigreg_weight) * invariance + self.sigreg_weight * sigreg

    def draw_slices(self, dim: int, device: torch.device) -> Tensor:
        """(D, S) unit columns, uniform on the sphere, others at each call."""
        row = (self.calls << 32) + torch.arange(dim, device=device)
        self.calls += 1
        return unit_slices(row, self.num_slices, self.seed)


def unit_slices(row: Tensor, num_slices: int, seed: int) -> Tensor:
    """(D, S) unit columns, uniform on the sphere: a function of the (D,) numbers of their rows."""
    numbers = uniform(row, num_slices, SLICES_STREAM, seed)
    normal = torch.special.ndtri(numbers + 2**-54)  # of 0 it would be infinite
    unit: Tensor = normal / normal.norm(dim=0)
    return unit


def gaussian_misfit(x: Tensor, t_max: float = 3.0, num_points: int = 17) -> Tensor:
    """How far N numbers are from N(0, 1): the Epps-Pulley statistic of (..., N, S) -> (..., S).

    N times the integral over t of |phi(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2), phi the numbers'
    characteristic function, by the trapezium rule over [0, t_max], doubled.

    Source: Epps & Pulley 1983, with the official code's window and points.
    """
    t = torch.linspace(0, t_max, num_points, dtype=x.dtype, device=x.device)
    weights = torch.full_like(t, 2 * t_max / (num_points - 1))
    weights[0] = weights[-1] = t_max / (num_points - 1)
    target = (-t.square() / 2).exp()
    total = torch.zeros_like(x[..., 0, :])
    for t_k, weight, gaussian in zip(t, weights * target, target, strict=True):
        real, imaginary = (t_k * x).cos().mean(dim=-2), (t_k * x).sin().mean(dim=-2)
        total = total + weight * ((real - gaussian).square() + imaginary.square())
    return x.shape[-2] * total
