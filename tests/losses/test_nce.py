"""NCE by hand, and its Z."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.contrastive import INF, nce, random_similarities, rows, with_gaps
from ssl_zoo.losses import NCE
from ssl_zoo.types import Facts, UserError

# --- by hand ------------------------------------------------------------------------------------

NCE_SIMILARITIES = tuple(torch.tensor(x, dtype=torch.float64) for x in ([0.8], [[0.6, -0.8]]))


@pytest.mark.parametrize(
    ("z", "big_z", "expected"),
    [("code", 11.30006115, 1.258494152), ("paper", 7.044026881, 1.256933733)],
)
def test_nce_by_hand(z: str, big_z: float, expected: float) -> None:
    loss = NCE(Facts(num_images=4), temperature=0.5, z=z, eps=0.0).double()
    assert loss(*NCE_SIMILARITIES).item() == pytest.approx(expected, rel=1e-9)
    assert loss.log_z.exp().item() == pytest.approx(big_z, rel=1e-9)


def test_nce_with_the_exact_z_by_hand() -> None:
    loss = NCE(Facts(num_images=4), temperature=0.5, eps=0.0).double()
    loss(*NCE_SIMILARITIES)
    loss.log_z.fill_(math.log(15.29600433))
    assert loss(*NCE_SIMILARITIES).item() == pytest.approx(1.320383428, rel=1e-9)


# --- temperatures and margins -------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("z", ["code", "paper"])
def test_nce_at_any_temperature(z: str, temperature: float) -> None:
    pos, neg = (x.float().requires_grad_() for x in with_gaps())
    loss = NCE(Facts(1000), temperature, z)(pos, neg)
    loss.backward()
    assert loss.isfinite()
    assert pos.grad is not None
    assert neg.grad is not None
    assert pos.grad.isfinite().all()
    assert neg.grad.isfinite().all()
    if temperature >= 0.01:  # where the loop's exp does not overflow
        assert loss.item() == pytest.approx(nce(1000, temperature, z)(rows(pos, neg)), rel=2e-5)


# --- NCE's Z ------------------------------------------------------------------------------------


def test_z_is_estimated_once_and_saved() -> None:
    first, second = random_similarities(seed=1), random_similarities(seed=2)
    loss = NCE(Facts(50), 0.2)
    loss(*first)
    log_z = loss.log_z.clone()
    value = loss(*second).item()
    assert torch.equal(loss.log_z, log_z)
    fresh = NCE(Facts(50), 0.2)
    assert fresh(*second).item() != value  # its own Z
    fresh.load_state_dict(loss.state_dict())
    assert torch.equal(fresh.log_z, log_z)
    assert fresh(*second).item() == value
    fresh.load_state_dict(NCE(Facts(50), 0.2).state_dict())  # one that has not begun
    assert fresh(*first).item() == loss(*first).item()


def test_z_carries_no_gradient() -> None:
    pos, neg = (x.requires_grad_() for x in random_similarities())
    loss = NCE(Facts(50), 0.2).double()
    loss(pos, neg).backward()
    assert pos.grad is not None
    first = pos.grad.clone()
    pos.grad = None
    loss(pos, neg).backward()
    torch.testing.assert_close(pos.grad, first)
    assert not loss.log_z.requires_grad


def test_z_of_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match=r"NCE's Z is exp\(-?(inf|nan)\) on the first batch"):
        NCE(Facts(10), z="paper")(torch.zeros(2), torch.full((2, 3), -INF))
