"""Sinkhorn's codes against the official code's values, and what equal shares do."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.golden import assert_golden, golden, golden_names, tensor
from helpers.tiers import only
from ssl_zoo.modules import Assignment, Sinkhorn, Softmax
from ssl_zoo.types import BadValue, UserError

NO_CODE = "swav/sinkhorn_b8_k5_it0"
ENTRIES = [name for name in golden_names("swav/sinkhorn") if name != NO_CODE]


@pytest.mark.parametrize("name", only(["swav/sinkhorn_b8_k5"], ENTRIES))
def test_codes_are_the_official_codes(name: str) -> None:
    settings = golden(name)["settings"]
    codes = Sinkhorn(settings["epsilon"], settings["iterations"])
    assert_golden(
        codes(tensor(golden(name)["inputs"]["scores"])), golden(name)["expected"]["codes"]
    )


def test_no_iteration_is_no_code() -> None:
    """The official code returns rows then that do not sum to 1."""
    rows = tensor(golden(NO_CODE)["expected"]["codes"]).sum(dim=1)
    assert (rows - 1).abs().max() > 0.1
    with pytest.raises(BadValue, match=r"^iterations=0: must be a whole number of at least 1$"):
        Sinkhorn(iterations=golden(NO_CODE)["settings"]["iterations"])


def test_codes_of_large_scores_in_float32() -> None:
    """exp(50 / 0.05) is infinite; in logarithms nothing is."""
    scores = torch.tensor([[50.0, -50.0, 0.0], [-50.0, 50.0, 0.0], [0.0, 1.0, 50.0]])
    torch.testing.assert_close(Sinkhorn()(scores), torch.eye(3))


def test_equal_shares_part_images_that_softmax_leaves_together() -> None:
    torch.manual_seed(0)
    scores = torch.randn(64, 4).double() * 0.02 + torch.tensor([0.9, 0.1, 0.0, -0.1])
    shares = [codes(scores).mean(dim=0) for codes in (Sinkhorn(iterations=50), Softmax())]
    torch.testing.assert_close(shares[0], torch.full((4,), 0.25).double(), atol=1e-6, rtol=0)
    assert shares[1][0] > 0.999


@pytest.mark.parametrize("kind", [Sinkhorn, Softmax])
def test_no_gradient_and_rows_that_sum_to_1(kind: type[Assignment]) -> None:
    scores = torch.randn(6, 5).bfloat16().requires_grad_()
    codes = kind()(scores)
    assert codes.dtype == torch.float32
    assert not codes.requires_grad
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("epsilon", [0, -1, math.inf, math.nan])
def test_an_epsilon_that_makes_no_sense(epsilon: float) -> None:
    with pytest.raises(BadValue, match=rf"^epsilon={epsilon}: must be above 0( and finite)?$"):
        Softmax(epsilon=epsilon)


def test_codes_of_another_shape_are_refused() -> None:
    class Nearest(Assignment):
        def codes(self, scores: torch.Tensor) -> torch.Tensor:
            return scores.argmax(dim=1)

    with pytest.raises(UserError, match=r"^Nearest makes codes of \(6,\) of scores of \(6, 5\): "):
        Nearest()(torch.randn(6, 5))
