"""The queue and the memory bank against loops over what they are said to do."""

from __future__ import annotations

import io
import logging
from functools import partial
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from ssl_zoo.modules import MemoryBank, Queue
from ssl_zoo.modules.negatives import _similarities
from ssl_zoo.types import BadValue, Facts, UserError

pytestmark = pytest.mark.usefixtures("double")

IMAGES, DIM = 12, 3


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def make_bank(num_negatives: int | None = 5, momentum: float = 0.5, seed: int = 0) -> MemoryBank:
    return MemoryBank(DIM, Facts(num_images=IMAGES), num_negatives, momentum, seed=seed)


def step(bank: MemoryBank, keys: Tensor, index: Tensor) -> None:
    bank.push(keys, index)
    bank.update()


def test_queue_takes_more_keys_than_it_holds_and_any_number() -> None:
    queue = Queue(dim=2, size=5)
    expected = [row.tolist() for row in queue.queue]
    for count in (3, 7, 5, 1, 12):
        keys = unit(torch.randn(count, 2))
        before = queue.queue.clone()
        queue.push(keys[: count // 2], torch.arange(count // 2))  # two micro-batches, one step
        queue.push(keys[count // 2 :], torch.arange(count - count // 2))
        assert torch.equal(queue.queue, before)  # staged keys are not negatives yet
        queue.update()
        expected = [*expected, *keys.tolist()][-5:]
        start = int(queue.pointer)
        got = [*queue.queue[start:].tolist(), *queue.queue[:start].tolist()]
        assert torch.tensor(got).allclose(torch.tensor(expected))


def test_a_queue_holds_something() -> None:
    with pytest.raises(BadValue, match=r"^size=0: must be a whole number of at least 1$"):
        Queue(dim=2, size=0)


# --- the memory bank: what moves ----------------------------------------------------------------


def test_the_bank_starts_with_unit_vectors() -> None:
    bank = make_bank().bank
    torch.testing.assert_close(bank.norm(dim=1), torch.ones(IMAGES))
    assert bank.shape == (IMAGES, DIM)
    assert len({tuple(row) for row in bank.tolist()}) == IMAGES


@pytest.mark.parametrize("length", [1.0, 7.0])
def test_the_bank_moves_by_hand(length: float) -> None:
    bank = MemoryBank(dim=2, facts=Facts(num_images=4))
    start = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    bank.bank.copy_(start)
    step(bank, length * torch.tensor([[0.8, 0.6]]), torch.tensor([0]))
    # (0.5 (1, 0) + 0.5 (0.8, 0.6)) / |...|
    assert bank.bank[0].tolist() == pytest.approx([0.9486832981, 0.316227766], abs=1e-9)
    assert torch.equal(bank.bank[1:], start[1:])


@pytest.mark.parametrize("momentum", [0.0, 0.3, 1.0])
def test_the_bank_keeps_its_momentum(momentum: float) -> None:
    bank, keys = make_bank(momentum=momentum), torch.randn(4, DIM)
    index = torch.tensor([7, 0, 11, 3])
    expected = bank.bank.clone()
    for i, key in zip(index, unit(keys), strict=True):
        expected[i] = unit(momentum * expected[i] + (1 - momentum) * key)
    step(bank, keys, index)
    torch.testing.assert_close(bank.bank, expected)


def test_an_image_pushed_twice_counts_by_its_mean() -> None:
    bank, keys = make_bank(), torch.randn(5, DIM)
    before = bank.bank.clone()
    bank.push(keys[:3], torch.tensor([2, 9, 2]))
    bank.push(keys[3:], torch.tensor([4, 2]))
    bank.update()
    expected = before.clone()
    for i, rows in {2: [0, 2, 4], 9: [1], 4: [3]}.items():
        mean = torch.stack([unit(keys[row]) for row in rows]).mean(dim=0)
        expected[i] = unit(0.5 * before[i] + 0.5 * mean)
    torch.testing.assert_close(bank.bank, expected)


def test_the_bank_moves_once_an_optimizer_step() -> None:
    bank, keys = make_bank(), torch.randn(4, DIM)
    before = bank.bank.clone()
    bank.push(keys[:2], torch.tensor([0, 1]))  # two micro-batches, one step
    bank.push(keys[2:], torch.tensor([2, 3]))
    assert torch.equal(bank.bank, before)
    assert bank.steps == 0
    bank.update()
    assert bank.steps == 1
    assert [i for i in range(IMAGES) if not torch.equal(bank.bank[i], before[i])] == [0, 1, 2, 3]
    before = bank.bank.clone()
    step(bank, keys[:1], torch.tensor([8]))  # what was committed is not staged any more
    assert [i for i in range(IMAGES) if not torch.equal(bank.bank[i], before[i])] == [8]


# --- the memory bank: similarities --------------------------------------------------------------


def test_the_positive_is_the_own_slot_as_it_was() -> None:
    bank, query = make_bank(), torch.randn(4, DIM)
    index = torch.tensor([5, 5, 0, 11])
    expected = [(unit(q) @ bank.bank[i]).item() for q, i in zip(query, index, strict=True)]
    bank.push(query, index)
    pos, neg = bank.negatives(query, query, index)
    assert pos.tolist() == pytest.approx(expected)
    bank.update()
    moved, _ = bank.negatives(query, query, index)
    assert (moved > pos)[2:].all()  # of the images that were pushed once
    assert neg.shape == (4, 5)


def test_all_other_slots() -> None:
    bank, query = make_bank(num_negatives=None), torch.randn(4, DIM)
    index = torch.tensor([5, 5, 0, 11])
    _, neg = bank.negatives(query, query, index)
    expected = [[(unit(q) @ slot).item() for slot in bank.bank] for q in query]
    for row, i in zip(expected, index.tolist(), strict=True):
        row[i] = -float("inf")
    torch.testing.assert_close(neg, torch.tensor(expected))


def test_a_drawn_own_slot_is_no_negative_where_it_is_excluded() -> None:
    query, index = torch.randn(2, 4), torch.tensor([0, 2])
    kept, excluded = (
        MemoryBank(4, Facts(num_images=3), num_negatives=40, exclude_own=own)
        for own in (False, True)
    )
    excluded.load_state_dict(kept.state_dict())
    everything, others = (bank.negatives(query, query, index)[1] for bank in (kept, excluded))
    is_own = kept._draw(index, 40) == index[:, None]
    assert is_own.any(dim=1).all()
    assert everything.isfinite().all()
    assert torch.equal(others, everything.masked_fill(is_own, -float("inf")))


def test_drawn_slots_equal_loop() -> None:
    bank, query = make_bank(num_negatives=30), torch.randn(4, DIM)
    index = torch.tensor([5, 5, 0, 11])
    _, neg = bank.negatives(query, query, index)
    drawn = bank._draw(index, 30).tolist()
    expected = [
        [(unit(q) @ bank.bank[j]).item() for j in row] for q, row in zip(query, drawn, strict=True)
    ]
    torch.testing.assert_close(neg, torch.tensor(expected))


@pytest.mark.parametrize("slots", [6, 12, 13, 200])  # K * DIM = 12 is where it changes its way
def test_similarities_equal_loop(slots: int) -> None:
    query, bank = torch.randn(7, DIM), torch.randn(slots, DIM)
    drawn = torch.randint(0, slots, (7, 4))
    expected = [[(q @ bank[j]).item() for j in row] for q, row in zip(query, drawn, strict=True)]
    torch.testing.assert_close(_similarities(query, bank, drawn), torch.tensor(expected))


@pytest.mark.parametrize("num_negatives", [5, None])
def test_the_gradient_reaches_the_query_alone(num_negatives: int | None) -> None:
    bank = make_bank(num_negatives)
    query, key = (torch.randn(4, DIM, requires_grad=True) for _ in range(2))
    pos, neg = bank.negatives(query, key, torch.arange(4))
    (pos.sum() + neg.exp().sum()).backward()
    assert query.grad is not None
    assert query.grad.abs().sum(dim=1).min() > 0
    assert key.grad is None
    assert not any(buffer.requires_grad for buffer in bank.buffers())
    assert list(bank.parameters()) == []
    bank.push(query, torch.arange(4))
    bank.update()
    assert not bank.bank.requires_grad


def test_the_banks_similarities_are_float32_under_autocast() -> None:
    torch.set_default_dtype(torch.float32)
    query, index = torch.randn(64, 16).bfloat16(), torch.arange(64)
    for num_negatives in (None, 2, 8):  # each takes its own way
        bank = MemoryBank(16, Facts(num_images=64), num_negatives)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pos, neg = bank.negatives(query, query, index)
        exact = unit(query.double()) @ bank.bank.double().T
        torch.testing.assert_close(pos.double(), exact.diagonal(), atol=1e-6, rtol=0)
        if num_negatives is None:
            exact.fill_diagonal_(-float("inf"))
        else:
            exact = exact.gather(1, bank._draw(index, num_negatives))
        torch.testing.assert_close(neg.double(), exact, atol=1e-6, rtol=0)


# --- the memory bank: draws ---------------------------------------------------------------------


def test_draws_are_uniform_over_all_slots_with_replacement() -> None:
    bank, index = make_bank(), torch.arange(IMAGES)
    draws = []
    for _ in range(20):
        draws.append(bank._draw(index, 300))
        step(bank, torch.randn(IMAGES, DIM), index)
    drawn = torch.stack(draws)  # (step, image, draw)
    assert stats.chisquare(drawn.flatten().bincount(minlength=IMAGES).numpy()).pvalue > 1e-3
    for i in range(IMAGES):  # the own slot among them
        counts = drawn[:, i].flatten().bincount(minlength=IMAGES).numpy()
        assert stats.chisquare(counts).pvalue > 1e-3
    # a draw says nothing about the next one, nor about the next step's or the next image's
    for first, second in (
        (drawn[:, :, :-1], drawn[:, :, 1:]),
        (drawn[:-1], drawn[1:]),
        (drawn[:, :-1], drawn[:, 1:]),
    ):
        pairs = (first * IMAGES + second).flatten().bincount(minlength=IMAGES**2)
        assert stats.chisquare(pairs.numpy()).pvalue > 1e-3


def test_draws_do_not_depend_on_the_batch() -> None:
    bank, index = make_bank(), torch.arange(IMAGES)
    drawn, order = bank._draw(index, 50), torch.randperm(IMAGES)
    assert torch.equal(bank._draw(index[order], 50), drawn[order])
    assert torch.equal(bank._draw(torch.tensor([7]), 50), drawn[7:8])
    torch.manual_seed(99)
    assert torch.equal(make_bank()._draw(index, 50), drawn)


def test_draws_differ_by_image_step_and_seed() -> None:
    bank, index = make_bank(), torch.arange(IMAGES)
    drawn = bank._draw(index, 50)
    assert len({tuple(row) for row in drawn.tolist()}) == IMAGES
    others = [make_bank(seed=1)._draw(index, 50)]
    for _ in range(2):
        step(bank, torch.randn(1, DIM), torch.tensor([0]))
        others.append(bank._draw(index, 50))
    for a, b in ((drawn, others[0]), (drawn, others[1]), (drawn, others[2]), tuple(others[1:])):
        assert (a == b).float().mean() < 0.25  # a twelfth by chance


# --- the memory bank: state and errors ----------------------------------------------------------


def test_the_bank_is_saved_and_goes_on() -> None:
    bank, file = make_bank(), io.BytesIO()
    for _ in range(3):
        step(bank, torch.randn(4, DIM), torch.randperm(IMAGES)[:4])
    torch.save(bank.state_dict(), file)
    file.seek(0)
    again = make_bank()
    again.load_state_dict(torch.load(file, weights_only=True))
    query, index = torch.randn(4, DIM), torch.tensor([5, 2, 0, 11])
    for _ in range(2):
        for ours, theirs in zip(
            bank.negatives(query, query, index), again.negatives(query, query, index), strict=True
        ):
            assert torch.equal(ours, theirs)
        for one in (bank, again):
            step(one, query, index)
    assert torch.equal(bank.bank, again.bank)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"facts": Facts()}, r"give facts=Facts\(num_images=\.\.\.\)$"),
        ({"num_negatives": 0}, r"^num_negatives=0: must be at least 1, or null$"),
        ({"momentum": 1.5}, r"^momentum=1\.5: must be in \[0, 1\]$"),
        ({"momentum": -0.1}, r"^momentum=-0\.1: must be in \[0, 1\]$"),
    ],
)
def test_bank_errors(options: dict[str, Any], message: str) -> None:
    build = partial(MemoryBank, dim=DIM, facts=Facts(num_images=IMAGES))
    with pytest.raises(UserError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda facts: Queue(dim=2, size=41, facts=facts), "the queue of 41 keys is longer than"),
        (lambda facts: Queue(dim=2, size=40, facts=facts), None),
        (lambda facts: Queue(dim=2, size=41), None),  # in a bare loop nobody knows
        (lambda facts: MemoryBank(dim=2, facts=facts, num_negatives=41), "41 negatives are drawn"),
        (lambda facts: MemoryBank(dim=2, facts=facts, num_negatives=None), None),
    ],
)
def test_a_dictionary_that_the_data_do_not_fill_is_said(
    caplog: pytest.LogCaptureFixture, make: Any, said: str | None
) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        make(Facts(num_images=40))
    assert [line[: len(said or "")] for line in caplog.messages] == ([] if said is None else [said])
