"""LeJEPA's loss against the official code's values, and the wrong forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from helpers.golden import assert_golden, golden, golden_names, tensor, wrong_forms, wrong_value
from helpers.official import Given, given
from ssl_zoo.losses import SIGReg, StatisticLoss
from ssl_zoo.losses.sigreg import gaussian_misfit
from ssl_zoo.types import BadValue, UserError

STATISTICS = golden_names("lejepa/epps")
SLICED = golden_names("lejepa/sigreg")
WHOLE = golden_names("lejepa/loss")


@pytest.mark.parametrize("name", STATISTICS)
def test_the_statistic_of_a_slice(name: str) -> None:
    settings, expected = golden(name)["settings"], golden(name)["expected"]
    x = tensor(golden(name)["inputs"]["x"]).requires_grad_()
    found = gaussian_misfit(x, settings["t_max"], settings["n_points"])
    assert_golden(found, expected["statistic"])
    found.sum().backward()
    assert_golden(x.grad, expected["grad_x_of_sum"])


@pytest.mark.parametrize("name", SLICED)
def test_the_mean_over_slices_and_views(name: str) -> None:
    """Three calls with other slices; the invariance's weight is 0."""
    inputs, expected = golden(name)["inputs"], golden(name)["expected"]
    sliced = given([], sigreg_weight=1)
    for k, slices in enumerate(inputs["A_of_step"]):
        z = tensor(inputs["z"]).requires_grad_()
        sliced.slices = tensor(slices)
        loss = sliced(z)
        assert_golden(loss, expected["loss_of_step"][k])
        loss.backward()
        if k == 0:
            assert_golden(z.grad, expected["grad_z_of_step_0"])
    assert sliced.calls == expected["global_step_after_3"]


def whole(name: str) -> tuple[Tensor, Given]:
    settings, inputs = golden(name)["settings"], golden(name)["inputs"]
    loss = given(inputs["A"], sigreg_weight=settings["lambda"], num_global=settings["n_global"])
    return tensor(inputs["z"]).requires_grad_(), loss


@pytest.mark.parametrize("name", WHOLE)
def test_loss_and_gradient_are_the_official_codes(name: str) -> None:
    expected = golden(name)["expected"]
    z, loss_of = whole(name)
    loss = loss_of(z)
    assert_golden(loss, expected["loss"])
    loss.backward()
    assert_golden(z.grad, expected["grad_z"])
    for weight, term in ((0, "invariance"), (1, "sigreg")):
        loss_of.sigreg_weight = weight
        assert_golden(loss_of(z), expected[term])


def form_of(name: str, form: str) -> Tensor:
    z, loss = whole(name)
    weight, n, slices = loss.sigreg_weight, z.shape[1], loss.slices
    if form == "centre_of_all_views":
        loss.num_global = None
        return loss(z)
    right, sigreg = loss(z), gaussian_misfit(z @ slices).mean()
    if form == "without_1_minus_lambda":
        return right + weight * (z - z[:2].mean(0)).square().mean()
    other = {
        "views_flattened_into_one_sample": lambda: gaussian_misfit(z.flatten(0, 1) @ slices),
        "without_N": lambda: gaussian_misfit(z @ slices) / n,
        "local_views_only_in_sigreg": lambda: gaussian_misfit(z[2:] @ slices),
        "half_integral": lambda: gaussian_misfit(z @ slices) / 2,
        "weight_without_window": lambda: unwindowed(z @ slices),
    }[form]().mean()
    return right + weight * (other - sigreg)


def unwindowed(x: Tensor) -> Tensor:
    t = torch.linspace(0, 3, 17, dtype=x.dtype)
    each = []
    for t_k in t:
        real, imaginary = (t_k * x).cos().mean(-2), (t_k * x).sin().mean(-2)
        each.append((real - (-(t_k**2) / 2).exp()).square() + imaginary.square())
    return 2 * x.shape[-2] * torch.trapezoid(torch.stack(each), t, dim=0)


@pytest.mark.parametrize(("name", "form"), wrong_forms("lejepa"))
def test_a_wrong_form_is_another_number(name: str, form: str) -> None:
    known, (z, loss) = wrong_value(name, form), whole(name)
    assert form_of(name, form).item() == pytest.approx(known, rel=1e-8)
    assert loss(z).item() != pytest.approx(known, rel=1e-6)


def test_slices_are_unit_vectors_others_at_each_call() -> None:
    loss, again = SIGReg(num_slices=2000), SIGReg(num_slices=2000)
    first, second = (loss.draw_slices(3, torch.device("cpu")) for _ in range(2))
    torch.testing.assert_close(first.norm(dim=0), torch.ones(2000, dtype=torch.float64))
    assert torch.equal(again.draw_slices(3, torch.device("cpu")), first)
    assert not torch.equal(first, second)
    # uniform on the sphere: each coordinate has mean 0 and mean square 1/3, to 5 standard errors
    assert first.mean(dim=1).abs().max() < 5 * math.sqrt(1 / 3 / 2000)
    assert (first.square().mean(dim=1) - 1 / 3).abs().max() < 5 * math.sqrt(4 / 45 / 2000)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("sigreg_weight", 1.5, r"in \[0, 1\]"),
        ("t_max", 0, "above 0"),
        ("num_slices", 0, "a whole number of at least 1"),
        ("num_slices", 2.5, "a whole number of at least 1"),
        ("num_global", 0, "a whole number of at least 1"),
        ("num_points", 1, "a whole number of at least 2"),
    ],
)
def test_values_that_make_no_sense(name: str, value: float, allowed: str) -> None:
    with pytest.raises(BadValue, match=rf"{name}={value}: must be {allowed}"):
        SIGReg(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("views", "large"), [(2, 2), (5, 2)])
def test_more_global_views_than_there_are_large_ones_are_refused(views: int, large: int) -> None:
    with pytest.raises(BadValue, match=r"^num_global=3: must be at most 2, the number of views"):
        SIGReg(num_global=3)(torch.randn(views, 4, 2), num_large=large)


def test_a_loss_that_claims_small_views_defines_them() -> None:
    class Spread(StatisticLoss):
        takes_small = True

        def statistic(self, z: Tensor) -> Tensor:
            return z.var()

    with pytest.raises(UserError, match=r"^Spread sets takes_small, but defines no statistic_with"):
        Spread()(torch.randn(3, 4, 2), num_large=2)
