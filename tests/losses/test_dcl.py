"""InfoNCE with `decoupled`, DCL and DCLW, against lightly's values, and the wrong forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.golden import assert_golden, golden, golden_names, tensor, wrong_forms, wrong_value
from ssl_zoo.losses import InfoNCE
from ssl_zoo.modules import InBatch
from ssl_zoo.types import BadValue


def similarities(name: str) -> tuple[list[Tensor], Tensor, Tensor]:
    """The leaves; each of the 2N views' positive; its 2N - 2 negatives."""
    inputs = golden(name)["inputs"]
    z0, z1 = (tensor(inputs[key]).requires_grad_() for key in ("z0", "z1"))
    index = torch.arange(len(z0)).repeat(2)
    pos, neg = InBatch().negatives(torch.cat([z0, z1]), torch.cat([z1, z0]), index)
    return [z0, z1], pos, neg


@pytest.mark.parametrize("name", golden_names("dcl/"))
def test_loss_and_gradient_are_lightlys(name: str) -> None:
    settings, expected = golden(name)["settings"], golden(name)["expected"]
    leaves, pos, neg = similarities(name)
    loss = InfoNCE(settings["temperature"], decoupled=True, sigma=settings["sigma"])(pos, neg)
    assert_golden(loss, expected["loss"])
    loss.backward()
    for leaf, gradient in zip(leaves, ("grad_z0", "grad_z1"), strict=True):
        assert_golden(leaf.grad, expected[gradient])


def form_of(name: str, form: str) -> Tensor:
    temperature = golden(name)["settings"]["temperature"]
    (z0, _), pos, neg = similarities(name)
    n = len(z0)
    if form == "nt_xent":
        return InfoNCE(temperature)(pos, neg)
    if form == "only_the_other_view":
        other = torch.cat([neg[:n, :n], neg[n:, n:]])  # a query's keys are the other view's first
        return InfoNCE(temperature, decoupled=True)(pos, other)
    return InfoNCE(temperature, decoupled=True)(pos, neg) - torch.tensor(2 * n - 2.0).log()


@pytest.mark.parametrize(("name", "form"), wrong_forms("dcl"))
def test_a_wrong_form_is_another_number(name: str, form: str) -> None:
    known, (_, pos, neg) = wrong_value(name, form), similarities(name)
    assert form_of(name, form).item() == pytest.approx(known, rel=1e-6)
    ours = InfoNCE(golden(name)["settings"]["temperature"], decoupled=True)(pos, neg)
    assert ours.item() != pytest.approx(known, rel=1e-6)


def test_sigma_is_decoupleds_alone_and_above_0() -> None:
    with pytest.raises(BadValue, match=r"sigma=0\.5 is read by decoupled=true only"):
        InfoNCE(sigma=0.5)
    with pytest.raises(BadValue, match=r"sigma=0: must be above 0"):
        InfoNCE(decoupled=True, sigma=0)
