"""W-MSE's loss against the official code's values, and the wrong forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from helpers.golden import assert_golden, golden, golden_names, tensor, wrong_forms, wrong_value
from ssl_zoo.losses import WhitenedMSE
from ssl_zoo.losses.whitening import whiten
from ssl_zoo.types import BadValue, UserError

WHITENED = golden_names("wmse/whitening")
LOSSES = golden_names("wmse/v")


class Given(WhitenedMSE):
    """With the permutations that the official code drew."""

    orders: list[list[int]]

    def draw_order(self, n: int, device: torch.device) -> Tensor:
        order = torch.tensor(self.orders[int(self.calls) % len(self.orders)])
        self.calls += 1
        return order


def given(name: str) -> tuple[Tensor, Given]:
    settings, inputs = golden(name)["settings"], golden(name)["inputs"]
    loss = Given(settings["w_size"], settings["w_iter"], settings["normalise"], settings["eps"])
    loss.orders = inputs["permutations"]
    return tensor(inputs["h"]).requires_grad_(), loss


@pytest.mark.parametrize("name", WHITENED)
def test_whitening_is_the_official_codes(name: str) -> None:
    inputs, expected = golden(name)["inputs"], golden(name)["expected"]
    x = tensor(inputs["x"]).requires_grad_()
    white = whiten(x, golden(name)["settings"]["eps"])
    assert_golden(white, expected["z"])
    (white * tensor(inputs["weights_of_gradient"])).sum().backward()
    assert_golden(x.grad, expected["grad_x_of_sum_z_weights"])


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_are_the_official_codes(name: str) -> None:
    h, loss_of = given(name)
    loss = loss_of(h)
    assert_golden(loss, golden(name)["expected"]["loss"])
    loss.backward()
    assert_golden(h.grad, golden(name)["expected"]["grad_h"])


def distance(x: Tensor, y: Tensor) -> Tensor:
    return 2 - 2 * (normalize(x, dim=-1) * normalize(y, dim=-1)).sum(-1).mean()


def zca(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / (len(x) - 1))
    return centred @ vectors @ torch.diag(values.rsqrt()) @ vectors.T


def form_of(name: str, form: str) -> Tensor:
    h, loss = given(name)
    x, y = h
    order, size = torch.tensor(loss.orders[0]), loss.whitening_size
    assert size is not None
    if form == "whole_batch":
        return distance(whiten(x), whiten(y))
    if form == "both_views_whitened_together":
        return distance(*whiten(torch.cat([x, y])).chunk(2))
    parts = [(zca(x[part]), zca(y[part])) for part in order.split(size)]
    return torch.stack([distance(a, b) for a, b in parts]).mean()


@pytest.mark.parametrize(("name", "form"), wrong_forms("wmse"))
def test_a_wrong_form_is_another_number(name: str, form: str) -> None:
    known, (h, loss) = wrong_value(name, form), given(name)
    if form != "a_permutation_for_each_view":  # which one it was is not recorded
        assert form_of(name, form).item() == pytest.approx(known, rel=1e-8)
    assert loss(h).item() != pytest.approx(known, rel=1e-6)


def test_sub_batches_are_others_at_each_call() -> None:
    loss, again, cpu = WhitenedMSE(), WhitenedMSE(), torch.device("cpu")
    first, second = (loss.draw_order(50, cpu) for _ in range(2))
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(50))
    assert again.draw_order(50, cpu).tolist() == first.tolist() != second.tolist()


@pytest.mark.parametrize(("size", "n", "dim"), [(6, 16, 4), (4, 16, 4), (None, 4, 4)])
def test_batches_that_cannot_be_cut_are_refused(size: int | None, n: int, dim: int) -> None:
    with pytest.raises(UserError, match=rf"whitening_size=\d+: .* divide the {n} images .* {dim} "):
        WhitenedMSE(size)(torch.randn(2, n, dim))


def test_a_constant_dimension_is_refused() -> None:
    z = torch.randn(2, 16, 4, dtype=torch.float64)
    z[:, :, 0] = 0
    with pytest.raises(UserError, match=r"cannot whiten .* eps above 0, or a larger"):
        WhitenedMSE(8)(z)
    assert WhitenedMSE(8, eps=0.1)(z).isfinite()


@pytest.mark.parametrize(
    ("name", "value"), [("whitening_size", 1), ("repeats", 0), ("eps", -1), ("eps", 1)]
)
def test_values_that_make_no_sense(name: str, value: int) -> None:
    with pytest.raises(BadValue, match=rf"{name}={value}: must be (a whole number|at least|in)"):
        WhitenedMSE(**{name: value})  # type: ignore[arg-type]
