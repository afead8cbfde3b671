"""Prototypes and the queue of embeddings that are assigned to them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_zoo.modules import EmbeddingQueue, Prototypes
from ssl_zoo.types import Facts, UserError

FACTS = Facts(steps_per_epoch=4)


def rows(first: int, count: int) -> Tensor:
    """(2, count, 1): of view 0 these numbers, of view 1 their negatives."""
    numbers = torch.arange(first, first + count).float()[:, None]
    return torch.stack([numbers, -numbers])


def test_the_newest_are_first_and_used_once_the_queue_is_full() -> None:
    queue = EmbeddingQueue(dim=1, size=5)
    for step, used in enumerate([0, 0, 5, 5]):
        assert [len(queue.past(view)) for view in range(2)] == [used, used]
        queue.push(rows(10 * step, 3))
        assert len(queue.past(0)) == used, "staged only"
        queue.update()
    assert queue.past(0).flatten().tolist() == [30, 31, 32, 20, 21]
    assert queue.past(1).flatten().tolist() == [-30, -31, -32, -20, -21]


def test_micro_batches_enter_together() -> None:
    whole, parts = (EmbeddingQueue(dim=1, size=6) for _ in range(2))
    whole.push(rows(0, 4))
    parts.push(rows(0, 2))
    parts.push(rows(2, 2))
    for queue in (whole, parts):
        queue.update()
    assert torch.equal(whole.queue, parts.queue)
    assert whole.filled == parts.filled == 4


def test_it_is_filled_from_its_epoch_on() -> None:
    queue = EmbeddingQueue(dim=1, size=2, start_epoch=0.5, facts=FACTS)
    filled = []
    for step in range(4):
        queue.push(rows(step, 1))
        queue.update()
        filled.append(queue.filled)
    assert filled == [0, 0, 1, 2]


def test_no_queue() -> None:
    queue = EmbeddingQueue(dim=1)
    queue.push(rows(0, 3))
    queue.update()
    assert queue.past(0).shape == (0, 1)


def test_counters_are_saved() -> None:
    parts = (Prototypes(3, 4, 1, FACTS), EmbeddingQueue(dim=1, size=2))
    for part in parts:
        part.update()
    other = (Prototypes(3, 4, 1, FACTS), EmbeddingQueue(dim=1, size=2))
    for new, old in zip(other, parts, strict=True):
        new.load_state_dict(old.state_dict())
        assert new.steps == 1


def test_frozen_prototypes_have_no_gradient() -> None:
    prototypes = Prototypes(3, 4, frozen_epochs=0.5, facts=FACTS)
    learned = []
    for _ in range(4):
        prototypes(torch.ones(2, 3)).sum().backward()
        prototypes.before_step()
        learned.append(prototypes.weight.grad is not None)
        prototypes.update()
    assert learned == [False, False, True, True]


def test_a_part_of_a_step_counts_as_one() -> None:
    assert Prototypes(3, 4, frozen_epochs=0.01, facts=FACTS).frozen_steps == 1
    assert Prototypes(3, 4, frozen_epochs=0, facts=FACTS).frozen_steps == 0


@pytest.mark.parametrize(("size", "said"), [(10, None), (12, "it is not used before it is full")])
def test_a_queue_longer_than_the_data_is_said(
    caplog: pytest.LogCaptureFixture, size: int, said: str | None
) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        EmbeddingQueue(dim=1, size=size, facts=Facts(num_images=10))
    assert [line.rpartition(": ")[2] for line in caplog.messages] == ([said] if said else [])


def test_they_are_brought_to_unit_length_in_place() -> None:
    prototypes = Prototypes(3, 4)
    before = prototypes.weight
    prototypes.normalize()
    assert prototypes.weight is before
    torch.testing.assert_close(before.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize(
    ("part", "knobs", "message"),
    [
        (Prototypes, {"count": 0}, "^count=0: must be a whole number of at least 2$"),
        (Prototypes, {"frozen_epochs": -1}, "^frozen_epochs=-1: must be at least 0$"),
        (Prototypes, {"frozen_epochs": 2}, r"^frozen_epochs=2 needs facts=Facts\(steps_per_epoch"),
        (EmbeddingQueue, {"size": -1}, "^size=-1: must be a whole number of at least 0$"),
        (EmbeddingQueue, {"start_epoch": -1}, "^start_epoch=-1: must be at least 0$"),
        (EmbeddingQueue, {"start_epoch": 1}, r"^start_epoch=1 needs facts=Facts\(steps_per_epoch"),
    ],
)
def test_values_that_make_no_sense(part: Any, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        part(dim=3, **knobs)
