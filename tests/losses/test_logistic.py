"""NTLogistic: its temperature and its draws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.contrastive import INF, logistic, random_similarities, reweighted, rows, with_gaps
from ssl_zoo.losses import NTLogistic

# --- temperatures and margins -------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("mode", ["all", "reweight"])
def test_logistic_at_any_temperature(mode: str, temperature: float) -> None:
    pos, neg = (x.float().requires_grad_() for x in with_gaps())
    loss = NTLogistic(temperature, mode)(pos, neg)
    loop = logistic(temperature) if mode == "all" else reweighted(temperature)
    assert loss.item() == pytest.approx(loop(rows(pos, neg)), rel=1e-6)
    loss.backward()
    assert pos.grad is not None
    assert neg.grad is not None
    assert pos.grad.isfinite().all()
    assert neg.grad.isfinite().all()


# --- the draws of NTLogistic --------------------------------------------------------------------


def drawn(loss: NTLogistic, valid: Tensor) -> Tensor:
    """Which negatives a call draws: those that get a gradient."""
    neg = torch.zeros(valid.shape).masked_fill(~valid, -INF).requires_grad_()
    loss(torch.zeros(len(valid)), neg).backward()
    assert neg.grad is not None
    return neg.grad > 0


def test_subsample_draws_k_negatives_of_each_query() -> None:
    valid = torch.rand(8, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    valid[0] = False
    mask = drawn(NTLogistic(mode="subsample", num_subsampled=3), valid)
    assert not mask[~valid].any()
    assert mask.sum(dim=1).tolist() == valid.sum(dim=1).clamp(max=3).tolist()


def test_subsample_is_the_mean_over_what_it_draws() -> None:
    pos, neg = random_similarities()
    mask = drawn(NTLogistic(0.2, "subsample", num_subsampled=2), torch.ones(5, 9).bool())
    loss = NTLogistic(0.2, "subsample", num_subsampled=2)(pos, neg)
    expected = logistic(0.2)(rows(pos, neg.masked_fill(~mask, -INF)))
    assert loss.item() == pytest.approx(expected, abs=1e-10)


def test_subsample_is_uniform() -> None:
    loss = NTLogistic(mode="subsample", num_subsampled=2)
    valid = torch.ones(50, 5, dtype=torch.bool)
    valid[:, 2] = False
    counts = sum(drawn(loss, valid).sum(dim=0) for _ in range(40))
    # 4000 draws over 4 columns: 1000 each, standard deviation 22
    assert counts[2] == 0
    assert (counts[[0, 1, 3, 4]] - 1000).abs().max() < 110


def test_draws_are_functions_of_seed_and_call() -> None:
    valid = torch.ones(20, 30, dtype=torch.bool)
    loss = NTLogistic(mode="subsample", seed=3)
    first = drawn(loss, valid)
    saved = {name: x.clone() for name, x in loss.state_dict().items()}
    torch.manual_seed(1)  # no generator is asked
    second = drawn(loss, valid)
    assert not torch.equal(first, second)
    assert torch.equal(drawn(NTLogistic(mode="subsample", seed=3), valid), first)
    assert not torch.equal(drawn(NTLogistic(mode="subsample", seed=4), valid), first)
    resumed = NTLogistic(mode="subsample", seed=3)
    resumed.load_state_dict(saved)
    assert torch.equal(drawn(resumed, valid), second)
    assert not torch.equal(first[:10], first[10:])  # rows draw apart
