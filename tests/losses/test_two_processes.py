"""Every loss on two real processes equals the loss on the whole batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, multiprocessing

from helpers.contrastive import SPREAD, value_and_gradients, worker


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Tensor]]]:
    folder = tmp_path_factory.mktemp("losses")
    multiprocessing.spawn(worker, (folder,), nprocs=2, daemon=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.xdist_group("two_processes")
@pytest.mark.parametrize("name", SPREAD)
def test_two_halves_equal_the_whole(
    two_processes: list[dict[str, list[Tensor]]], name: str
) -> None:
    # the ranks hold different numbers of valid pairs
    whole = value_and_gradients(SPREAD[name]().double(), 0, 1)
    values, *gradients = ([found[name][i] for found in two_processes] for i in range(len(whole)))
    assert torch.equal(values[0], values[1])
    torch.testing.assert_close(values[0], whole[0], atol=1e-12, rtol=0)
    for halves, expected in zip(gradients, whole[1:], strict=True):
        # DDP averages over the ranks
        torch.testing.assert_close(torch.cat(halves) / 2, expected, atol=1e-12, rtol=0)
