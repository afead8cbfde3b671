"""Each method against its paper's loop in plain PyTorch, as its own test file writes it out."""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch
from torch import Tensor

from helpers.method_cases import cases
from helpers.pseudo_code import assert_same, batches, train_ours


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("case", cases("PSEUDO_CODE"))
def test_equals_its_pseudo_code(case: str) -> None:
    make, loop, data = cases("PSEUDO_CODE")[case]
    method = make()
    losses, left = loop(method)
    assert train_ours(method, (data or batches)()) == pytest.approx(losses, abs=1e-9)
    assert len(set(losses)) == len(losses)
    for name, theirs in left.items():
        ours = attrgetter(name)(method)
        if isinstance(theirs, Tensor):
            torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
        else:
            assert_same(ours, theirs)
