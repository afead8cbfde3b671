"""Targets: momentum, lagged, and with shuffled batch norm."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssl_zoo.modules import MLP, Encoder, Lagged, Momentum, ShuffleBN, SplitBatchNorm, Target
from ssl_zoo.modules.norms import split_norms
from ssl_zoo.modules.targets import check_splits
from ssl_zoo.types import BadValue, Facts, UserError

pytestmark = pytest.mark.usefixtures("double")


class Flat(nn.Flatten):
    num_features = 4


class Rows(Target):
    """The views themselves as embeddings, and which came when."""

    def __init__(self, encoder: nn.Module, facts: Facts = Facts()) -> None:
        super().__init__(encoder)
        self.seen: list[list[float]] = []

    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        self.seen.append(view[:, 0].tolist())
        return view


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# --- momentum -----------------------------------------------------------------------------------


def test_momentum_schedule() -> None:
    golden = [0.996, 0.9965857864, 0.998, 0.9994142136, 1.0]  # 1 - 0.004 (cos(pi k / 4) + 1) / 2
    target = Momentum(nn.Linear(1, 1), momentum=0.996, final_momentum=1.0)
    assert [target.momentum_at(k / 4) for k in range(5)] == pytest.approx(golden, abs=1e-10)


@pytest.mark.parametrize(("momentum", "expected"), [(0.999, 1.002), (0.9, 1.2), (0.0, 3.0)])
def test_momentum_update(momentum: float, expected: float) -> None:
    online = nn.Linear(1, 1)
    target = Momentum(online, momentum=momentum)
    for p in target.encoder.parameters():
        nn.init.ones_(p)
    for p in online.parameters():
        nn.init.constant_(p, 3.0)
    target.update(online, progress=0.0)
    assert all(p.item() == pytest.approx(expected) for p in target.encoder.parameters())


@pytest.mark.parametrize("name", ["momentum", "final_momentum"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_momentum_errors(name: str, value: float) -> None:
    with pytest.raises(BadValue, match=rf"^{name}={value}: must be in \[0, 1\]$"):
        Momentum(nn.Linear(1, 1), **{name: value})


@pytest.mark.parametrize(("last", "said"), [(None, 0), (0.99, 0), (1.0, 0), (0.5, 1)])
def test_a_momentum_that_falls_is_said(
    caplog: pytest.LogCaptureFixture, last: float | None, said: int
) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        Momentum(nn.Linear(1, 1), 0.99, last)
    assert sum("momentum=0.99 falls to final_momentum=0.5" in m for m in caplog.messages) == said


# --- lagged -------------------------------------------------------------------------------------


def lagged_weights(target: Lagged, online: Any, values: range) -> list[float]:
    """The target's weight after each optimizer step, which sets the online weight to a value."""
    weights = []
    for value in values:
        nn.init.constant_(online.weight, value)
        target.update(online, progress=0.0)
        weights.append(target.encoder.weight.item())
    return weights


@pytest.mark.parametrize(
    ("every", "expected"),
    [(1, [1, 2, 3, 4, 5, 6]), (2, [0, 2, 2, 4, 4, 6]), (4, [0, 0, 0, 4, 4, 4])],
)
def test_lagged_is_the_online_encoder_of_then(every: int, expected: list[float]) -> None:
    online = nn.Linear(1, 1)
    nn.init.zeros_(online.weight)
    assert lagged_weights(Lagged(online, every), online, range(1, 7)) == expected
    nn.init.zeros_(online.weight)
    target = Lagged(online, "epoch", Facts(steps_per_epoch=every))
    assert lagged_weights(target, online, range(1, 7)) == expected
    assert not any(p.requires_grad for p in target.parameters())


def test_lagged_is_saved_between_two_copies() -> None:
    online = nn.Linear(1, 1)
    nn.init.zeros_(online.weight)
    target = Lagged(online, every=3)
    lagged_weights(target, online, range(1, 6))
    again = Lagged(nn.Linear(1, 1), every=3)
    again.load_state_dict(through_a_file(target.state_dict()))
    assert again.encoder.weight.item() == 3
    assert lagged_weights(again, online, range(6, 10)) == [6, 6, 6, 9]


@pytest.mark.parametrize("every", [0, -2, "week", 1.5])
def test_lagged_errors(every: Any) -> None:
    with pytest.raises(UserError, match=rf"^every={every}: must be a whole number of steps,"):
        Lagged(nn.Linear(1, 1), every, Facts(steps_per_epoch=4))


def test_lagged_by_the_epoch_needs_its_length() -> None:
    with pytest.raises(
        UserError, match=r"every=epoch needs facts=Facts\(steps_per_epoch=\.\.\.\)$"
    ):
        Lagged(nn.Linear(1, 1), "epoch")


# --- shuffled batch norm ------------------------------------------------------------------------


def shuffled_rows(seed: int = 0) -> Any:
    return ShuffleBN(nn.Identity(), Rows, seed=seed)


def orders(target: Any, calls: int, n: int = 20) -> list[list[float]]:
    """The order in which rows 0 to n - 1 reached the wrapped target, call by call."""
    view = torch.arange(float(n))[:, None]
    for _ in range(calls):
        assert torch.equal(target(view, nn.Identity()), view)
    seen: list[list[float]] = target.target.seen[-calls:]
    return seen


def test_shuffled_rows_go_back_to_their_own() -> None:
    encoder = Encoder(Flat(), MLP(4, 3, hidden_norm=False))  # no batch norm: each row by itself
    target = ShuffleBN(encoder, partial(Momentum, momentum=0.0), num_splits=2)
    views = torch.randn(10, 1, 2, 2)
    for _ in range(3):
        torch.testing.assert_close(target(views, encoder), encoder(views)[1])


def test_the_order_is_another_in_each_call_and_for_each_seed() -> None:
    first = orders(shuffled_rows(), calls=4)
    assert all(sorted(order) == [float(i) for i in range(20)] for order in first)
    every = [*first, *orders(shuffled_rows(seed=1), calls=4), [float(i) for i in range(20)]]
    assert len({tuple(order) for order in every}) == 9
    torch.manual_seed(99)
    assert orders(shuffled_rows(), calls=4) == first


def test_every_row_comes_to_every_place() -> None:
    counts = torch.zeros(4, 4)
    for order in orders(shuffled_rows(), calls=400, n=4):
        counts[torch.arange(4), torch.tensor(order).long()] += 1
    assert (counts - 100).abs().max() < 35  # four standard deviations of 400 draws at 1 / 4


def test_the_order_goes_on_where_it_was_saved() -> None:
    target, again = shuffled_rows(), shuffled_rows()
    orders(target, calls=3)
    again.load_state_dict(through_a_file(target.state_dict()))
    assert orders(again, calls=3) == orders(target, calls=3)
    assert orders(shuffled_rows(), calls=3) != orders(again, calls=3)


def test_norms_apart_in_the_order_of_the_queries() -> None:
    encoder = Encoder(Flat(), nn.BatchNorm1d(4))
    target = ShuffleBN(encoder, partial(Momentum, momentum=1.0), num_splits=2, shuffle=False)
    view = torch.randn(6, 4)
    halves = [(x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() for x in view.chunk(2)]
    torch.testing.assert_close(target(view, encoder), torch.cat(halves))
    assert int(target.calls) == 0


def test_one_split_leaves_the_norms() -> None:
    for num_splits, expected in ((1, nn.BatchNorm1d), (2, SplitBatchNorm)):
        encoder = Encoder(Flat(), MLP(4, 3))
        target: Any = ShuffleBN(encoder, Momentum, num_splits)
        for own in (encoder, target.target.encoder):
            assert type(own.projector[1]) is expected


def test_shuffled_errors() -> None:
    with pytest.raises(UserError, match=r"^num_splits=0: must be a whole number of at least 1$"):
        ShuffleBN(nn.Identity(), Rows, num_splits=0)


@pytest.mark.parametrize("inner", [partial(Momentum, momentum=0.0), partial(Lagged, every=1)])
def test_what_is_wrapped_moves(inner: Callable[..., nn.Module]) -> None:
    online = nn.Linear(2, 2)
    target: Any = ShuffleBN(online, inner)
    nn.init.ones_(online.weight)
    target.update(online, progress=0.0)
    torch.testing.assert_close(target.target.encoder.weight, online.weight)


@pytest.mark.parametrize(
    ("num_splits", "batch_size", "parts", "rows"),
    [(8, 64, 1, None), (8, 36, 1, 36), (4, 32, 8, 4), (4, 64, 8, None), (1, 1, 1, None)],
)
def test_each_split_has_two_rows(
    num_splits: int, batch_size: int, parts: int, rows: int | None
) -> None:
    net = nn.Sequential(nn.BatchNorm1d(3))
    if num_splits > 1:
        split_norms(net, num_splits)
    if rows is None:
        return check_splits(net, batch_size, parts)
    line = f"num_splits={num_splits} does not divide the {rows} images that batch_size={batch_size}"
    with pytest.raises(UserError, match=line):
        check_splits(net, batch_size, parts)
