"""Embeddings of two micro-batches have the loss, gradients and state of one batch."""

from __future__ import annotations

import copy

import pytest
import torch

from helpers.method_cases import cases
from helpers.steps import batch_of, part_of
from ssl_zoo.types import Embeddings


def joined(parts: list[Embeddings]) -> Embeddings:
    """The embeddings of micro-batches as those of one batch."""
    first = parts[0]
    return Embeddings(
        torch.cat([part.representation for part in parts]),
        [torch.cat([part.online[i] for part in parts]) for i in range(len(first.online))],
        {view: torch.cat([part.target[view] for part in parts]) for view in first.target},
        [torch.cat([part.prediction[i] for part in parts]) for i in range(len(first.prediction))],
    )


NORM_FREE = [case for case in cases("TWO_PROCESSES") if not case.startswith("shuffled_norms")]


@pytest.mark.parametrize("case", NORM_FREE)
def test_embeddings_of_two_halves_have_the_loss_of_the_whole(case: str) -> None:
    """On networks without batch norm; what is staged and counted is the same, too."""
    torch.manual_seed(0)
    whole = cases("TWO_PROCESSES")[case]().double()
    halves = copy.deepcopy(whole)
    batch = batch_of(case, whole, step=1)
    expected = whole.step(batch)
    parts = [part_of(batch, i, 2) for i in range(2)]
    embeddings = joined([halves.embed(part.views) for part in parts])
    found = halves.objective(embeddings, batch.index, batch.label)
    assert found.loss.item() == pytest.approx(expected.loss.item(), abs=1e-12)
    torch.testing.assert_close(found.embedding, expected.embedding)
    torch.testing.assert_close(found.representation, expected.representation)
    for method, output in ((whole, expected), (halves, found)):
        output.loss.backward()
        method.update(progress=0.0)
    pairs = zip(whole.named_parameters(), halves.named_parameters(), strict=True)
    compared = 0
    for (name, theirs), (_, ours) in pairs:
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, msg=name, atol=1e-12, rtol=1e-9)
            compared += 1
    assert compared >= 8
    for name, buffer in halves.named_buffers():
        if not name.endswith("target.calls"):  # a count of passes
            torch.testing.assert_close(buffer, whole.get_buffer(name), msg=name)
