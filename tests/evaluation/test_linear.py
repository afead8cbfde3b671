"""Linear evaluation against torch.optim.SGD, scikit-learn and planted cases."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_zoo.evaluation import LinearHeads, fit_linear
from ssl_zoo.evaluation.classification import top1_by_class
from ssl_zoo.evaluation.linear import _residual
from ssl_zoo.types import UserError

Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def random_problem(dtype: torch.dtype = torch.float64) -> Problem:
    """Train and validation features and labels: 50 and 200 rows, 6 dimensions, 3 classes."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 6, generator=generator)
    labels = torch.randint(3, (250,), generator=generator)
    x = centres[labels] + torch.randn(250, 6, generator=generator)
    x = (x * torch.tensor([1e-3, 1, 5, 100, 1, 1]) + 3).to(dtype)
    return x[:50], labels[:50], x[50:], labels[50:]


def digits() -> Problem:
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    x = torch.from_numpy(data.data).float()[order]
    y = torch.from_numpy(data.target)[order]
    return x[:1300], y[:1300], x[1300:], y[1300:]


def plain_sgd(problem: Problem, rate: float, weight_decay: float, seed: int) -> nn.Linear:
    """One head by autograd and torch's own optimizer and schedule: 4 epochs in batches of 16."""
    x, y, _, _ = problem
    x = (x - x.mean(0)) / x.std(0, correction=0)
    head = nn.Linear(6, 3, dtype=torch.float64)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4 * 4)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(4):
        for index in torch.randperm(50, generator=generator).split(16):
            optimizer.zero_grad()
            cross_entropy(head(x[index]), y[index]).backward()
            optimizer.step()
            schedule.step()
    return head


@pytest.mark.parametrize(("rate", "weight_decay"), [(0.05, 0.0), (0.3, 0.1)])
def test_one_head_equals_plain_sgd(rate: float, weight_decay: float) -> None:
    problem = random_problem()
    ours = fit_linear(*problem, 3, [rate], [weight_decay], epochs=4, batch_size=16, seed=5)
    head = plain_sgd(problem, rate, weight_decay, seed=5)
    torch.testing.assert_close(ours.weight, head.weight.detach().T, rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.bias, head.bias.detach(), rtol=0, atol=1e-9)

    x, _, x_val, y_val = problem
    logits = head((x_val - x.mean(0)) / x.std(0, correction=0))
    torch.testing.assert_close(ours.predict(x_val), logits.detach(), rtol=0, atol=1e-8)
    assert ours.val_top1.tolist() == [(logits.argmax(1) == y_val).double().mean().item()]


def test_heads_together_equal_each_alone() -> None:
    problem = random_problem()
    rates, decays = [0.001, 0.03, 0.9], [0.0, 0.2]
    together = fit_linear(*problem, 3, rates, decays, epochs=5, batch_size=16)
    alone = [
        fit_linear(*problem, 3, [rate], [decay], epochs=5, batch_size=16)
        for rate in rates
        for decay in decays
    ]
    assert together.val_top1.tolist() == [head.val_top1.item() for head in alone]
    assert len(set(together.val_top1.tolist())) > 2
    setting = (together.learning_rate, together.weight_decay)
    winner = next(head for head in alone if (head.learning_rate, head.weight_decay) == setting)
    assert winner.val_top1 == together.val_top1.max()
    torch.testing.assert_close(together.weight, winner.weight, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.bias, winner.bias, rtol=0, atol=1e-12)


def noisy(seed: int, shared: bool) -> tuple[Tensor, Tensor]:
    """(class + noise, noise): a head that trains for long learns to subtract the shared noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(400) % 2
    noise, other = torch.randn(2, 400, generator=generator)
    return torch.stack([2 * y + 2 * noise, noise if shared else 3 * other], dim=1), y


def test_validation_not_test_chooses() -> None:
    train, y = noisy(0, shared=True)
    test, y_test = noisy(1, shared=True)
    val, y_val = noisy(2, shared=False)  # here subtracting does harm
    by_val = fit_linear(train, y, val, y_val, 2, [1e-4, 1.0], [0.0], epochs=40)
    by_test = fit_linear(train, y, test, y_test, 2, [1e-4, 1.0], [0.0], epochs=40)
    assert by_val.learning_rate == 1e-4
    assert by_test.learning_rate == 1.0

    def top1(grid) -> float:
        return (grid.predict(val).argmax(1) == y_val).float().mean().item()

    assert top1(by_val) == pytest.approx(by_val.val_top1.max().item())
    assert top1(by_val) > top1(by_test)


def test_equal_accuracy_goes_to_the_lower_loss() -> None:
    y = torch.arange(40) % 2
    x = torch.stack([4.0 * y, torch.ones(40)], dim=1)  # separable: every head is perfect
    grid = fit_linear(x, y, x, y, 2, [1e-3, 0.5, 1e-2], [0.0], epochs=10)
    assert grid.val_top1.tolist() == [1, 1, 1]
    assert grid.learning_rate == 0.5
    assert grid.on_edge


def test_edges_of_the_grid() -> None:
    problem = random_problem()
    inner = fit_linear(*problem, 3, [1e-7, 0.05, 1e4], [0.0], epochs=5, batch_size=16)
    assert inner.learning_rate == 0.05
    assert not inner.on_edge
    assert fit_linear(*problem, 3, [1e-2, 1e-7], [0.0], epochs=5).on_edge
    assert not fit_linear(*problem, 3, [0.05], [0.0, 0.1], epochs=5).on_edge  # nothing to widen


def test_diverged_head_is_worst_and_harms_no_other() -> None:
    problem = random_problem(torch.float32)
    alone = fit_linear(*problem, 3, [0.05], [0.1], epochs=10, batch_size=16)
    grid = fit_linear(*problem, 3, [1e30, 0.05], [0.1], epochs=10, batch_size=16)
    assert grid.val_top1[0].isnan()
    assert grid.learning_rate == 0.05
    torch.testing.assert_close(grid.weight, alone.weight)
    with pytest.raises(UserError, match="all 1 heads diverged"):
        fit_linear(*problem, 3, [1e30], [0.1], epochs=10, batch_size=16)


def test_reaches_logistic_regression_on_digits() -> None:
    x, y, x_val, y_val = digits()
    x_val, x_test, y_val, y_test = x_val[:250], x_val[250:], y_val[:250], y_val[250:]
    grid = fit_linear(x, y, x_val, y_val, 10)
    scaler = StandardScaler().fit(x.numpy())
    reference = LogisticRegression(max_iter=1000).fit(scaler.transform(x.numpy()), y.numpy())
    expected = reference.score(scaler.transform(x_test.numpy()), y_test.numpy())
    ours = (grid.predict(x_test).argmax(1) == y_test).double().mean().item()
    assert ours >= expected - 0.015
    assert len(grid.val_top1) == 32
    assert not grid.on_edge


def test_scale_and_shift_of_features_do_not_matter() -> None:
    x, y, x_val, y_val = random_problem()
    scale, shift = torch.tensor([1e-4, 1e4, 3.0, 1.0, 0.5, 7.0]), torch.arange(6.0)
    plain = fit_linear(x, y, x_val, y_val, 3, epochs=5)
    moved = fit_linear(x * scale + shift, y, x_val * scale + shift, y_val, 3, epochs=5)
    torch.testing.assert_close(moved.weight, plain.weight, rtol=0, atol=1e-6)


def test_constant_dimensions_are_harmless() -> None:
    x, y, x_val, y_val = random_problem(torch.float32)
    dead = 0.1 + 1e-8 * torch.randn(250, 2, generator=torch.Generator().manual_seed(0))
    assert len(dead.unique()) > 1  # constant but for rounding
    plain = fit_linear(x, y, x_val, y_val, 3, epochs=5)
    grid = fit_linear(
        torch.cat([x, dead[:50]], 1), y, torch.cat([x_val, dead[50:]], 1), y_val, 3, epochs=5
    )
    torch.testing.assert_close(grid.val_top1, plain.val_top1)
    assert grid.weight[6:].abs().max() < 1e-6


def test_unlabelled_rows_are_left_out() -> None:
    x, y, x_val, y_val = random_problem()
    expected = fit_linear(x[9:], y[9:], x_val[20:], y_val[20:], 3, epochs=3)
    y[:9], y_val[:20] = -1, -1
    grid = fit_linear(x, y, x_val, y_val, 3, epochs=3)
    assert torch.equal(grid.weight, expected.weight)
    assert torch.equal(grid.val_top1, expected.val_top1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x, y, x_val, y_val = (t.to(dtype) if t.is_floating_point() else t for t in random_problem())
    grid = fit_linear(x, y, x_val, y_val, 3, epochs=3)
    same = fit_linear(x.float(), y, x_val.float(), y_val, 3, epochs=3)
    assert grid.weight.dtype == grid.predict(x_val).dtype == torch.float32
    assert torch.equal(grid.weight, same.weight)


def test_seed_orders_batches_and_global_rng_is_untouched() -> None:
    problem = random_problem()
    before = torch.get_rng_state()
    first = fit_linear(*problem, 3, epochs=2, batch_size=16, seed=1)
    torch.manual_seed(99)
    again = fit_linear(*problem, 3, epochs=2, batch_size=16, seed=1)
    other = fit_linear(*problem, 3, epochs=2, batch_size=16, seed=2)
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    torch.set_rng_state(before)
    fit_linear(*problem, 3, epochs=2, batch_size=16)
    assert torch.equal(torch.get_rng_state(), before)


def test_many_validation_rows_count_each_once() -> None:
    x, y, x_val, y_val = random_problem()
    few = fit_linear(x, y, x_val, y_val, 3, epochs=3)
    many = fit_linear(x, y, x_val.repeat(11, 1), y_val.repeat(11), 3, epochs=3)
    torch.testing.assert_close(many.val_top1, few.val_top1)


def test_progress_is_told_once_an_epoch() -> None:
    calls: list[tuple[int, int]] = []
    fit_linear(*random_problem(), 3, epochs=3, progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_user_errors() -> None:
    x, y, x_val, y_val = random_problem()
    with pytest.raises(UserError, match="train: none of the 50 rows has a label"):
        fit_linear(x, torch.full_like(y, -1), x_val, y_val, 3)
    with pytest.raises(UserError, match="val: label 2 needs num_classes >= 3"):
        fit_linear(x, y.clamp(max=1), x_val, y_val, 2)
    with pytest.raises(UserError, match="val: features hold NaN"):
        fit_linear(x, y, x_val * math.nan, y_val, 3)
    with pytest.raises(UserError, match="0 heads"):
        fit_linear(x, y, x_val, y_val, 3, learning_rates=[])
    with pytest.raises(UserError, match="epochs 0"):
        fit_linear(x, y, x_val, y_val, 3, epochs=0)
    with pytest.raises(UserError, match="optimizer adam is unknown; use sgd or lars"):
        LinearHeads([0.1], [0.0], 3, (torch.zeros(6), torch.ones(6)), optimizer="adam")


def larc(head: nn.Linear, velocity: list[Tensor], rate: float, weight_decay: float) -> None:
    """A step of apex's LARC without clipping around SGD with momentum 0.9, in plain loops."""
    for parameter, v in zip(head.parameters(), velocity, strict=True):
        gradient = parameter.grad
        norm, gradient_norm = parameter.detach().norm(), gradient.norm()
        if norm > 0 and gradient_norm > 0:
            trust = 0.001 * norm / (gradient_norm + weight_decay * norm)
            gradient = trust * (gradient + weight_decay * parameter.detach())
        v.copy_(0.9 * v + gradient)
        parameter.data -= rate * v


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_heads_step_as_a_plain_loop_does(optimizer: str) -> None:
    x, y, _, _ = random_problem()
    start = 0.01 * torch.randn(6, 3, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    rates, decays, factors = [0.5, 30.0], [0.0, 0.3], [1.0, 0.7, 0.1, 0.1]
    statistics = (x.new_zeros(6), x.std(0))
    heads = LinearHeads(rates, decays, 3, statistics, start, optimizer)
    batches = list(torch.arange(50).split(13))
    for index, factor in zip(batches, factors, strict=True):
        heads.step(x[index], y[index], factor)
    columns = heads.weights.view(7, 3, 4)
    for i, (rate, decay) in enumerate(heads.grid):
        head = nn.Linear(6, 3, dtype=x.dtype)
        head.weight.data, head.bias.data = start.T.clone(), torch.zeros(3, dtype=x.dtype)
        velocity = [torch.zeros_like(p) for p in head.parameters()]
        sgd = torch.optim.SGD(head.parameters(), rate, momentum=0.9, weight_decay=decay)
        for index, factor in zip(batches, factors, strict=True):
            head.zero_grad()
            cross_entropy(head(x[index] / x.std(0)), y[index]).backward()
            if optimizer == "lars":
                larc(head, velocity, rate * factor, decay)
            else:
                sgd.param_groups[0]["lr"] = rate * factor
                sgd.step()
        torch.testing.assert_close(columns[:-1, :, i], head.weight.detach().T, rtol=1e-9, atol=0)
        torch.testing.assert_close(columns[-1, :, i], head.bias.detach(), rtol=1e-9, atol=1e-12)


def test_top1_by_class() -> None:
    labels, predicted = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([0, 1, 2, 2, 0])
    assert top1_by_class(predicted, labels, 4) == [0.5, None, pytest.approx(2 / 3), None]


def test_no_number_is_so_small_that_products_take_longer() -> None:
    logits = torch.tensor([[[0.0], [-95.0]]])  # exp(-95) is 5e-42
    assert _residual(logits, torch.tensor([0])).tolist() == [[[0.0], [0.0]]]
