"""The losses beside InfoNCE against hand-computed values and python loops over their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from test_losses import VIEW_1, VIEW_2, both_views, mean, random_similarities
from torch import Tensor, multiprocessing, nn

from ssl_zoo.losses import (
    NCE,
    ContrastiveMargin,
    FaceNetTriplet,
    InfoNCE,
    MarginTriplet,
    NPair,
    NTLogistic,
)
from ssl_zoo.modules import InBatch
from ssl_zoo.types import UserError

INF = float("inf")
Rows = list[tuple[float, list[float]]]


# --- the formulas, pair by pair -----------------------------------------------------------------


def rows(pos: Tensor, neg: Tensor) -> Rows:
    """Each query's positive and its negatives, without those that are none."""
    pairs = zip(pos.double().tolist(), neg.double().tolist(), strict=True)
    return [(p, [s for s in row if s != -INF]) for p, row in pairs]


def combinations(data: Rows) -> Iterator[tuple[float, float]]:
    return ((p, s) for p, row in data for s in row)


def softplus(x: float) -> float:
    """log(1 + exp(x)), whatever the size of x."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def mean_or_zero(values: list[float]) -> float:
    return mean(values) if values else 0.0


def npair(data: Rows) -> float:
    return mean([math.log(1 + sum(math.exp(s - p) for s in row)) for p, row in data])


def triplet(keep: Callable[[float, float], bool], margin: float) -> Callable[[Rows], float]:
    def loop(data: Rows) -> float:
        kept = [(p, s) for p, s in combinations(data) if keep(p, s)]
        return mean_or_zero([max(s - p + margin, 0.0) for p, s in kept])

    return loop


def facenet(data: Rows) -> float:
    return mean([max((2 - 2 * p) - (2 - 2 * s) + 0.2, 0.0) for p, s in combinations(data)])


def hadsell(data: Rows) -> float:
    positives = [(2 - 2 * p) / 2 for p, _ in data]
    negatives = [max(1.1 - math.sqrt(2 - 2 * s), 0.0) ** 2 / 2 for _, s in combinations(data)]
    return mean(positives + negatives)


def logistic(
    t: float, keep: Callable[[float, float], bool] = lambda p, s: True
) -> Callable[[Rows], float]:
    def loop(data: Rows) -> float:
        negatives = [softplus(s / t) for p, s in combinations(data) if keep(p, s)]
        return mean([softplus(-p / t) for p, _ in data] + negatives)

    return loop


def reweighted(t: float) -> Callable[[Rows], float]:
    def loop(data: Rows) -> float:
        negatives = [softplus(s / t) for _, s in combinations(data)]
        return mean([softplus(-p / t) for p, _ in data]) + mean(negatives)

    return loop


def nce(n: int, t: float, z: str, eps: float = 1e-7) -> Callable[[Rows], float]:
    """As lemniscate computes it, from probabilities."""

    def loop(data: Rows) -> float:
        drawn = [s for p, row in data for s in ([p, *row] if z == "code" else row)]
        big_z = n * mean([math.exp(s / t) for s in drawn])
        losses = []
        for p, row in data:
            noise = len(row) / n
            prob = math.exp(p / t) / big_z
            loss = -math.log(prob / (prob + noise + eps))
            for s in row:
                prob = math.exp(s / t) / big_z
                loss -= math.log(noise / (prob + noise + eps))
            losses.append(loss)
        return mean(losses)

    return loop


Case = tuple[Callable[[], nn.Module], Callable[[Rows], float]]
CASES: dict[str, Case] = {
    "npair": (NPair, npair),
    "triplet": (lambda: MarginTriplet(0.4), triplet(lambda p, s: True, 0.4)),
    "triplet, no margin": (lambda: MarginTriplet(0.0), triplet(lambda p, s: True, 0.0)),
    "triplet, semi-hard": (
        lambda: MarginTriplet(0.4, "semi_hard"),
        triplet(lambda p, s: p - 0.4 < s < p, 0.4),
    ),
    "triplet, semi-hard wide": (
        lambda: MarginTriplet(0.4, "semi_hard_wide"),
        triplet(lambda p, s: p + 0.4 > s, 0.4),
    ),
    "facenet": (FaceNetTriplet, facenet),
    "hadsell": (lambda: ContrastiveMargin(1.1), hadsell),
    "logistic": (lambda: NTLogistic(0.2), logistic(0.2)),
    "logistic, reweight": (lambda: NTLogistic(0.2, "reweight"), reweighted(0.2)),
    "logistic, semi-hard": (
        lambda: NTLogistic(0.2, "semi_hard"),
        logistic(0.2, lambda p, s: s < p),
    ),
    "logistic, semi-hard within a margin": (
        lambda: NTLogistic(0.2, "semi_hard", margin=0.5),
        logistic(0.2, lambda p, s: p - 0.5 < s < p),
    ),
    "logistic, all are drawn": (
        lambda: NTLogistic(0.2, "subsample", num_subsampled=99),
        logistic(0.2),
    ),
    "nce": (lambda: NCE(100, 0.1), nce(100, 0.1, "code")),
    "nce, eps": (lambda: NCE(100, 0.1, eps=0.03), nce(100, 0.1, "code", 0.03)),
    "nce, no eps": (lambda: NCE(100, 0.1, eps=0.0), nce(100, 0.1, "code", 0.0)),
    "nce, paper": (lambda: NCE(100, 0.1, "paper"), nce(100, 0.1, "paper")),
}
LOSSES = pytest.mark.parametrize("name", CASES)


def with_gaps(seed: int = 1) -> tuple[Tensor, Tensor]:
    """Similarities of 6 queries; every one but the last has some of 9 negatives."""
    pos, neg = random_similarities(6, 9, seed)
    gaps = torch.rand(6, 9, generator=torch.Generator().manual_seed(seed)) < 0.3
    gaps[-1] = True
    return pos, neg.masked_fill(gaps, -INF)


@LOSSES
def test_equals_loop(name: str) -> None:
    make, loop = CASES[name]
    for pos, neg in (random_similarities(), with_gaps()):
        assert make().double()(pos=pos, neg=neg).item() == pytest.approx(
            loop(rows(pos, neg)), abs=1e-10
        )


@LOSSES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_computes_in_float32(name: str, dtype: torch.dtype) -> None:
    make, loop = CASES[name]
    pos, neg = (x.to(dtype) for x in with_gaps())
    loss = make()(pos, neg)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(loop(rows(pos, neg)), rel=2e-6)


@LOSSES
def test_gradcheck(name: str) -> None:
    pos, neg = (x.requires_grad_() for x in random_similarities(4, 5))
    loss = CASES[name][0]().double()
    loss(pos, neg)  # NCE's Z is estimated now, and constant from here
    assert torch.autograd.gradcheck(loss, (pos, neg))


@LOSSES
def test_what_is_no_negative_has_no_gradient(name: str) -> None:
    pos, neg = with_gaps()
    pos, neg = pos.requires_grad_(), neg.requires_grad_()
    loss = CASES[name][0]().double()
    loss(pos, neg).backward()
    assert pos.grad is not None
    assert neg.grad is not None
    assert pos.grad.isfinite().all()
    assert (neg.grad[neg == -INF] == 0).all()
    assert (neg.grad >= 0).all()
    assert neg.grad.max() > 0
    assert (pos.grad <= 0).all()


@LOSSES
def test_no_negatives_at_all(name: str) -> None:
    pos = torch.tensor([0.3, -0.7]).requires_grad_()
    loss = CASES[name][0]()
    if isinstance(loss, NCE):  # cannot estimate Z from nothing
        loss(torch.zeros(2), torch.zeros(2, 3))
    for neg in (torch.empty(2, 0), torch.full((2, 3), -INF)):
        value = loss(pos, neg)
        value.backward()
        assert value.isfinite()
        assert pos.grad is not None
        assert pos.grad.isfinite().all()


@LOSSES
def test_a_nan_similarity_is_not_dropped(name: str) -> None:
    pos, neg = random_similarities()
    loss = CASES[name][0]()
    loss(pos, neg)
    for where in (pos[:1], neg[:1, :1]):
        before = where.clone()
        where.fill_(float("nan"))
        assert loss(pos, neg).isnan()
        where.copy_(before)


# --- by hand ------------------------------------------------------------------------------------


def golden_views() -> tuple[Tensor, Tensor]:
    return torch.tensor(VIEW_1, dtype=torch.float64), torch.tensor(VIEW_2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (NTLogistic(0.5), 1.007386785),
        (NTLogistic(0.5, "reweight"), 1.603030548),
        (MarginTriplet(0.4), 0.24),
        (MarginTriplet(0.8), 0.54),
        (MarginTriplet(0.4, "semi_hard"), 0.2),
        (MarginTriplet(0.8, "semi_hard"), 0.6),
        (MarginTriplet(0.4, "semi_hard_wide"), 0.24),
        # 0.96 is above 0.8 + 0.1: the mean of 0, 0, 0, 0, 0, 0
        (MarginTriplet(0.1, "semi_hard_wide"), 0.0),
        (MarginTriplet(0.1), 2 * 0.26 / 8),
    ],
)
def test_two_images_by_hand(loss: nn.Module, expected: float) -> None:
    pos, neg = both_views(*golden_views())
    assert loss(pos, neg).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("margin", "expected"), [(0.2, 0.0), (0.5, 0.1)])
def test_facenet_by_hand(margin: float, expected: float) -> None:
    # anchor (1, 0), positive (0.8, 0.6), negative (0.6, 0.8)
    pos, neg = (torch.tensor(x, dtype=torch.float64) for x in ([0.8], [[0.6]]))
    loss = FaceNetTriplet(margin)(pos, neg)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_hadsell_by_hand() -> None:
    def cosine(distance: float) -> Tensor:
        return torch.tensor([1 - distance**2 / 2], dtype=torch.float64)

    loss = ContrastiveMargin(1.0)
    assert loss(cosine(0.5), torch.full((1, 1), -INF).double()).item() == pytest.approx(0.125)
    # a positive and a negative at 0.5 (0.125 each), a negative beyond the margin (0)
    neg = torch.stack([cosine(0.5), cosine(1.7)], dim=1)
    assert loss(cosine(0.5), neg).item() == pytest.approx(0.08333333333, rel=1e-9)


def test_hadsell_at_distance_0() -> None:
    pos, neg = torch.ones(2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    loss = ContrastiveMargin(1.0)(pos, neg)
    assert loss.item() == pytest.approx(4 * 0.5 / 6)
    loss.backward()
    assert neg.grad is not None
    assert neg.grad.isfinite().all()
    close = torch.tensor([[1 - 2**-24, 1 + 2**-23]], requires_grad=True)  # float32's neighbours
    ContrastiveMargin(1.0)(pos[:1], close).backward()
    assert close.grad is not None
    assert close.grad.isfinite().all()


def test_npair_by_hand() -> None:
    queries = torch.tensor([[1.0, 2.0], [2.0, 0.0]], dtype=torch.float64)
    keys = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    similarities = InBatch(normalize=False).negatives(queries, keys, torch.arange(2))
    assert NPair()(*similarities).item() == pytest.approx(0.3556485542, rel=1e-9)
    tuplet = NPair()(torch.tensor([3.0]).double(), torch.tensor([[2.0, 1.0]]).double())
    assert tuplet.item() == pytest.approx(0.4076059644, rel=1e-9)


NCE_SIMILARITIES = tuple(torch.tensor(x, dtype=torch.float64) for x in ([0.8], [[0.6, -0.8]]))


@pytest.mark.parametrize(
    ("z", "big_z", "expected"),
    [("code", 11.30006115, 1.258494152), ("paper", 7.044026881, 1.256933733)],
)
def test_nce_by_hand(z: str, big_z: float, expected: float) -> None:
    loss = NCE(num_images=4, temperature=0.5, z=z, eps=0.0).double()
    assert loss(*NCE_SIMILARITIES).item() == pytest.approx(expected, rel=1e-9)
    assert loss.log_z.exp().item() == pytest.approx(big_z, rel=1e-9)


def test_nce_with_the_exact_z_by_hand() -> None:
    loss = NCE(num_images=4, temperature=0.5, eps=0.0).double()
    loss(*NCE_SIMILARITIES)
    loss.log_z.fill_(math.log(15.29600433))
    assert loss(*NCE_SIMILARITIES).item() == pytest.approx(1.320383428, rel=1e-9)


# --- relations between the losses ---------------------------------------------------------------


def test_npair_is_infonce_at_temperature_1() -> None:
    pos, neg = with_gaps()
    assert NPair()(5 * pos, 5 * neg).item() == pytest.approx(
        InfoNCE(1.0)(5 * pos, 5 * neg).item(), abs=1e-12
    )


def test_facenet_is_twice_the_triplet_of_half_the_margin() -> None:
    pos, neg = with_gaps()
    expected = 2 * MarginTriplet(0.25)(pos, neg).item()
    assert FaceNetTriplet(0.5)(pos, neg).item() == pytest.approx(expected, abs=1e-12)


def test_the_two_semi_hard_readings_differ_on_hard_negatives_alone() -> None:
    pos, hard = torch.tensor([0.5]), torch.tensor([[0.6]])
    assert MarginTriplet(0.4, "semi_hard")(pos, hard).item() == 0
    assert MarginTriplet(0.4, "semi_hard_wide")(pos, hard).item() == pytest.approx(0.5)
    too_hard, within = torch.tensor([[0.95]]), torch.tensor([[0.3]])
    assert MarginTriplet(0.4, "semi_hard_wide")(pos, too_hard).item() == 0
    for mode in ("semi_hard", "semi_hard_wide"):
        assert MarginTriplet(0.4, mode)(pos, within).item() == pytest.approx(0.2)


def test_nothing_semi_hard_costs_nothing() -> None:
    pos, neg = torch.ones(3, requires_grad=True), torch.zeros(3, 4, requires_grad=True)
    loss = MarginTriplet(0.4, "semi_hard")(pos, neg)
    loss.backward()
    assert loss.item() == 0
    assert pos.grad is not None
    assert (pos.grad == 0).all()


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


@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("z", ["code", "paper"])
def test_nce_at_any_temperature(z: str, temperature: float) -> None:
    pos, neg = (x.float().requires_grad_() for x in with_gaps())
    loss = NCE(1000, temperature, z)(pos, neg)
    loss.backward()
    assert loss.isfinite()
    assert pos.grad is not None
    assert neg.grad is not None
    assert pos.grad.isfinite().all()
    assert neg.grad.isfinite().all()
    if temperature >= 0.01:  # where the loop's exp does not overflow
        assert loss.item() == pytest.approx(nce(1000, temperature, z)(rows(pos, neg)), rel=2e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InfoNCE(0.0), r"method\.temperature=0\.0 must be above 0"),
        (lambda: NTLogistic(-1.0), r"method\.temperature=-1\.0 must be above 0"),
        (lambda: NTLogistic(float("nan")), r"method\.temperature=nan"),
        (lambda: NCE(10, 0.0), r"method\.temperature=0\.0 must be above 0"),
        (lambda: NCE(0), r"num_images=0 of NCE must be at least 1"),
        (lambda: NCE(10, eps=-1.0), r"method\.loss\.eps=-1\.0 must be at least 0"),
        (lambda: NCE(10, z="exact"), r"method\.loss\.z=exact is unknown: use one of code, paper"),
        (lambda: NTLogistic(mode="none"), r"mode=none is unknown: .* subsample, reweight"),
        (lambda: NTLogistic(num_subsampled=0), r"num_subsampled=0 must be at least 1"),
        (
            lambda: NTLogistic(mode="semi_hard", margin=-0.1),
            r"method\.loss\.margin=-0\.1 must be above 0",
        ),
        (lambda: MarginTriplet(-0.1), r"method\.loss\.margin=-0\.1 must be at least 0"),
        (lambda: MarginTriplet(0.0, "semi_hard"), r"margin=0\.0 must be above 0"),
        (lambda: MarginTriplet(mode="hard"), r"mode=hard is unknown: .* semi_hard_wide"),
        (lambda: FaceNetTriplet(-1.0), r"margin=-1\.0 must be at least 0"),
        (lambda: ContrastiveMargin(0.0), r"margin=0\.0 must be above 0"),
    ],
)
def test_bad_numbers(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


# --- NCE's Z ------------------------------------------------------------------------------------


def test_z_is_estimated_once_and_saved() -> None:
    first, second = random_similarities(seed=1), random_similarities(seed=2)
    loss = NCE(50, 0.2)
    loss(*first)
    log_z = loss.log_z.clone()
    value = loss(*second).item()
    assert torch.equal(loss.log_z, log_z)
    fresh = NCE(50, 0.2)
    assert fresh(*second).item() != value  # its own Z
    fresh.load_state_dict(loss.state_dict())
    assert torch.equal(fresh.log_z, log_z)
    assert fresh(*second).item() == value
    fresh.load_state_dict(NCE(50, 0.2).state_dict())  # one that has not begun
    assert fresh(*first).item() == loss(*first).item()


def test_z_carries_no_gradient() -> None:
    pos, neg = (x.requires_grad_() for x in random_similarities())
    loss = NCE(50, 0.2).double()
    loss(pos, neg).backward()
    assert pos.grad is not None
    first = pos.grad.clone()
    pos.grad = None
    loss(pos, neg).backward()
    torch.testing.assert_close(pos.grad, first)
    assert not loss.log_z.requires_grad


def test_z_of_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match=r"NCE's Z is exp\(-?(inf|nan)\) on the first batch"):
        NCE(10, z="paper")(torch.zeros(2), torch.full((2, 3), -INF))


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


# --- two processes ------------------------------------------------------------------------------

SPREAD: dict[str, Callable[[], nn.Module]] = {
    **{name: make for name, (make, _) in CASES.items()},
    "logistic, subsample": lambda: NTLogistic(0.2, "subsample", num_subsampled=2),
    "infonce": InfoNCE,
    "nothing kept": lambda: MarginTriplet(1e-9, "semi_hard"),
}


def value_and_gradients(loss: nn.Module, rank: int, world_size: int) -> list[Tensor]:
    """The loss twice (a constant Z, a second draw), and the second one's gradients."""
    pos, neg = (x.chunk(world_size)[rank].clone().requires_grad_() for x in with_gaps())
    first, second = loss(pos, neg), loss(pos, neg)
    second.backward()
    assert pos.grad is not None
    assert neg.grad is not None
    return [torch.stack([first, second]).detach(), pos.grad, neg.grad]


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store, limit = f"file://{folder / 'store'}", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=limit)
    results = {name: value_and_gradients(make().double(), rank, 2) for name, make in SPREAD.items()}
    dist.destroy_process_group()
    torch.save(results, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Tensor]]]:
    folder = tmp_path_factory.mktemp("losses")
    multiprocessing.spawn(worker, (folder,), nprocs=2, daemon=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.ddp
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
