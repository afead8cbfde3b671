"""Barlow Twins' and VICReg's losses against the official code's values, and the wrong forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from helpers.golden import (
    assert_golden,
    golden,
    golden_names,
    tensor,
    wrong_forms,
    wrong_value,
)
from ssl_zoo.losses import CrossCorrelation, StatisticLoss, VarianceInvarianceCovariance
from ssl_zoo.losses.correlation import covariance, cross_correlation, variance
from ssl_zoo.types import BadValue, UserError

BARLOW = [name for name in golden_names("barlow/") if "lars" not in name]
VICREG = golden_names("vicreg/")


def views(name: str) -> Tensor:
    inputs = golden(name)["inputs"]
    first, second = ("z1", "z2") if "z1" in inputs else ("x", "y")
    return torch.stack([tensor(inputs[first]), tensor(inputs[second])]).requires_grad_()


def loss_of(name: str) -> StatisticLoss:
    settings = golden(name)["settings"]
    if name.startswith("barlow"):
        return CrossCorrelation(settings["lambda"], settings["bn_eps"])
    weights = (settings[key] for key in ("sim_coeff", "std_coeff", "cov_coeff"))
    return VarianceInvarianceCovariance(*weights, settings["eps"])


def gradients(name: str) -> list[list[list[float]]]:
    return [value for key, value in golden(name)["expected"].items() if key.startswith("grad_")]


@pytest.mark.parametrize("name", BARLOW + VICREG)
def test_loss_and_gradient_are_the_official_codes(name: str) -> None:
    z = views(name)
    loss = loss_of(name)(z)
    assert_golden(loss, golden(name)["expected"]["loss"])
    loss.backward()
    assert_golden(z.grad, gradients(name))


@pytest.mark.parametrize("name", BARLOW)
def test_the_cross_correlation(name: str) -> None:
    expected = golden(name)["expected"]["cross_correlation"]
    assert_golden(cross_correlation(*views(name)), expected)


@pytest.mark.parametrize("name", VICREG)
def test_the_three_terms(name: str) -> None:
    x, y = views(name)
    expected = golden(name)["expected"]
    assert_golden((variance(x) + variance(y)) / 2, expected["variance"])
    assert_golden(covariance(x) + covariance(y), expected["covariance"])
    assert_golden(VarianceInvarianceCovariance(1, 0, 0)(views(name)), expected["invariance"])


# --- wrong forms: each is what a change of one line would compute ---------------------------------


def barlow_form(z: Tensor, form: str) -> Tensor:
    if form == "l2_normalised_first":
        return CrossCorrelation()(z / z.norm(dim=2, keepdim=True))
    if form == "no_batchnorm_eps":
        return CrossCorrelation(eps=0)(z)
    if form == "scale_loss_0.1":
        return 0.1 * CrossCorrelation()(z)
    if form == "unbiased_std":
        a, b = ((x - x.mean(0)) / (x.std(0) + 1e-5) for x in z)
        c = a.T @ b / len(a)
    else:
        c = cross_correlation(*z)
    on, every = (c.diagonal() - 1).square().sum(), c.square().sum()
    lost = 0 if form == "diagonal_also_times_lambda_off" else c.diagonal().square().sum()
    return on + 0.0051 * (every - lost)


def vicreg_form(z: Tensor, form: str) -> Tensor:
    (x, y), d = z, z.shape[2]
    right = VarianceInvarianceCovariance()(z)
    invariance, hinge = (x - y).square().mean(), (variance(x) + variance(y)) / 2
    spread = covariance(x) + covariance(y)
    if form == "variance_not_halved":
        return right + 25 * hinge
    if form == "invariance_summed_over_d":
        return right + 25 * (d - 1) * invariance + 25 * hinge  # both, as in the paper's equations
    if form == "covariance_over_d_d_minus_1":
        return right - spread + spread / (d - 1)
    if form == "hinge_squared_without_eps":
        squared = sum((1 - v.std(0)).relu().square().mean() for v in z) / 2
        return right - 25 * hinge + 25 * squared
    n = len(x)
    biased = sum((1 - (v.var(0, correction=0) + 1e-4).sqrt()).relu().mean() for v in z) / 2
    return right - 25 * hinge + 25 * biased - spread + spread * ((n - 1) / n) ** 2


@pytest.mark.parametrize(("name", "form"), wrong_forms("barlow", "vicreg"))
def test_a_wrong_form_is_another_number(name: str, form: str) -> None:
    """The form, written out, gives the number that is known of it; ours does not."""
    wrong: Callable[[Tensor, str], Tensor] = (
        barlow_form if name.startswith("barlow") else vicreg_form
    )
    z, known = views(name), wrong_value(name, form)
    assert wrong(z, form).item() == pytest.approx(known, rel=1e-8)
    assert loss_of(name)(z).item() != pytest.approx(known, rel=1e-6)


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [CrossCorrelation, VarianceInvarianceCovariance])
def test_three_views_are_refused(loss: type[StatisticLoss]) -> None:
    with pytest.raises(UserError, match=rf"^{loss.__name__} compares two views .*, not 3: "):
        loss()(torch.zeros(3, 4, 2))


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        *((CrossCorrelation, name) for name in ("off_diagonal", "eps")),
        *((VarianceInvarianceCovariance, n) for n in ("invariance", "variance", "covariance")),
    ],
)
def test_weights_below_0_are_refused(loss: type[StatisticLoss], name: str) -> None:
    with pytest.raises(BadValue, match=rf"{name}=-1: must be at least 0"):
        loss(**{name: -1})


def test_a_loss_of_no_term_is_refused() -> None:
    VarianceInvarianceCovariance(variance=0, covariance=0)  # collapses, as the paper shows
    with pytest.raises(BadValue, match=r"^invariance=0: must be above 0 where variance and"):
        VarianceInvarianceCovariance(0, 0, 0)


@pytest.mark.parametrize("loss", [CrossCorrelation, VarianceInvarianceCovariance])
def test_half_precision_does_not_reach_the_statistics(loss: type[StatisticLoss]) -> None:
    z = torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss()(z)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss()(z.float()), rtol=1e-6, atol=0)
