"""Metric learning: losses against formulas of our own, their parameters, norms, miners, runs."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_metric_learning import losses
from pytorch_metric_learning.miners import MultiSimilarityMiner
from test_resume import assert_equal, state, train_with_signal
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, softplus

from ssl_zoo.choices import CONFIG_DIR
from ssl_zoo.config import instantiate as build
from ssl_zoo.data import DataModule
from ssl_zoo.methods import MetricLearning
from ssl_zoo.modules import MLP, Linear
from ssl_zoo.modules.googlenet import googlenet
from ssl_zoo.modules.miners import AllTuples, DisjointPairs, DisjointTriplets
from ssl_zoo.optim import (
    JointOptimizer,
    build_joint_optimizer,
    build_optimizer,
    constant,
    warmup_cosine,
)
from ssl_zoo.run import build_method
from ssl_zoo.types import MultiViewBatch, UserError
from train import train

Make = Callable[..., DictConfig]

N, DIM, CLASSES = 12, 5, 3
ARCFACE = ["method=metric_learning", "method/metric_loss=arcface", "method.images_per_class=8"]


# --- the losses ---------------------------------------------------------------------------------


def loss_of(name: str, **knobs: Any) -> nn.Module:
    """What conf/method/metric_loss makes, in double precision."""
    node = OmegaConf.load(Path(CONFIG_DIR) / f"method/metric_loss/{name}.yaml")
    made = instantiate(node, **knobs)
    loss: nn.Module = (
        made if isinstance(made, nn.Module) else made(num_classes=CLASSES, embedding_size=DIM)
    )
    return loss.double()


def batch() -> tuple[Tensor, Tensor]:
    """Unit embeddings, somewhat nearer within a class than between, and their labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES).repeat(N // CLASSES)
    centers = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    noise = torch.randn(N, DIM, generator=generator, dtype=torch.float64)
    return normalize(centers[labels] + 1.5 * noise, dim=1), labels


def distance(a: Tensor, b: Tensor) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def pairs(same: bool) -> list[tuple[int, int]]:
    _, labels = batch()
    return [
        (i, j) for i in range(N) for j in range(N) if i != j and (labels[i] == labels[j]) == same
    ]


def mean_of_positive(values: list[float]) -> float:
    kept = [value for value in values if value > 0]
    return sum(kept) / len(kept)


def contrastive(z: Tensor, loss: Any) -> float:
    pos = [max(0.0, distance(z[i], z[j]) - loss.pos_margin) for i, j in pairs(True)]
    neg = [max(0.0, loss.neg_margin - distance(z[i], z[j])) for i, j in pairs(False)]
    return mean_of_positive(pos) + mean_of_positive(neg)


def triplet(z: Tensor, loss: Any) -> float:
    return mean_of_positive(
        [
            max(0.0, distance(z[a], z[p]) - distance(z[a], z[n]) + loss.margin)
            for a, p in pairs(True)
            for b, n in pairs(False)
            if a == b
        ]
    )


def nt_xent(z: Tensor, loss: Any) -> float:
    """Of each positive pair by itself: its anchor's negatives and the pair in the denominator."""
    terms = []
    for a, p in pairs(True):
        logits = [float(z[a] @ z[k]) / loss.temperature for k in [p, *negatives_of(a)]]
        terms.append(math.log(sum(math.exp(x - logits[0]) for x in logits)))
    return sum(terms) / len(terms)


def negatives_of(a: int) -> list[int]:
    return [n for b, n in pairs(False) if a == b]


def multi_similarity(z: Tensor, loss: Any) -> float:
    terms = []
    for a in range(N):
        pos = sum(
            math.exp(-loss.alpha * (float(z[a] @ z[p]) - loss.base))
            for b, p in pairs(True)
            if a == b
        )
        neg = sum(math.exp(loss.beta * (float(z[a] @ z[n]) - loss.base)) for n in negatives_of(a))
        terms.append(math.log(1 + pos) / loss.alpha + math.log(1 + neg) / loss.beta)
    return sum(terms) / N


def margin(z: Tensor, loss: Any) -> float:
    """Hinges of both distances about beta, over all triplets, by the number of non-zero hinges."""
    beta, total, count = loss.beta.item(), 0.0, 0
    for a, p in pairs(True):
        for n in negatives_of(a):
            pos = max(0.0, distance(z[a], z[p]) - beta + loss.margin)
            neg = max(0.0, beta - distance(z[a], z[n]) + loss.margin)
            total, count = total + pos + neg, count + (pos > 0) + (neg > 0)
    return total / count


def cosines(z: Tensor, weight: Tensor) -> Tensor:
    return z @ normalize(weight, dim=0)


def normalized_softmax(z: Tensor, loss: Any) -> float:
    return float(cross_entropy(cosines(z, loss.W) / loss.temperature, batch()[1]))


def cosface(z: Tensor, loss: Any) -> float:
    cos, labels = cosines(z, loss.W), batch()[1]
    own = nn.functional.one_hot(labels, CLASSES)
    return float(cross_entropy(loss.scale * (cos - loss.margin * own), labels))


def arcface(z: Tensor, loss: Any) -> float:
    cos, labels = cosines(z, loss.W), batch()[1]
    own = nn.functional.one_hot(labels, CLASSES).bool()
    angle = cos.acos() + math.radians(28.6)
    assert float(angle.max()) < math.pi  # the continuation beyond is not met here
    return float(cross_entropy(loss.scale * torch.where(own, angle.cos(), cos), labels))


def soft_triple(z: Tensor, loss: Any) -> float:
    labels = batch()[1]
    cos = cosines(z, loss.fc).view(N, CLASSES, -1)
    similarity = ((cos / 0.1).softmax(dim=2) * cos).sum(dim=2)
    own = nn.functional.one_hot(labels, CLASSES)
    return float(cross_entropy(loss.la * (similarity - loss.margin * own), labels))


def proxy_nca(z: Tensor, loss: Any) -> float:
    squared = torch.cdist(z, normalize(loss.proxies, dim=1)) ** 2
    return float(cross_entropy(-loss.softmax_scale * squared, batch()[1]))


FORMULAS: list[Callable[[Tensor, Any], float]] = [
    *(contrastive, triplet, nt_xent, multi_similarity, margin),
    *(normalized_softmax, cosface, arcface, soft_triple, proxy_nca),
]


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda f: f.__name__)
@torch.no_grad()
def test_losses_equal_their_formulas(formula: Callable[[Tensor, Any], float]) -> None:
    torch.manual_seed(0)
    loss = loss_of(formula.__name__)
    z, labels = batch()
    value = loss(z, labels).item()
    assert value == pytest.approx(formula(z, loss), rel=1e-6)
    assert value > 0.01


T4 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (loss_of("contrastive"), 0.9418898339),
        (loss_of("triplet"), 0.3996128196),
        (loss_of("multi_similarity"), 0.4988111289),
        (loss_of("nt_xent", temperature=0.5), 0.8707137571),
        (loss_of("nt_xent", temperature=0.1), 0.9668017297),
    ],
    ids=lambda value: type(value).__name__,
)
def test_published_pair_losses(loss: nn.Module, value: float) -> None:
    assert float(loss(T4, torch.tensor([0, 1, 0, 1]))) == pytest.approx(value, abs=1e-6)


def with_cosines(name: str, cos: list[float], **knobs: Any) -> float:
    """The loss of one embedding whose cosines to the class weights are given."""
    loss: Any = loss_of(name, **knobs)
    across = [math.sqrt(1 - c * c) for c in cos]
    weight = torch.zeros(DIM, len(cos), dtype=torch.float64)
    weight[0], weight[1] = torch.tensor(cos), torch.tensor(across)
    parameter = next(iter(loss.parameters()))
    parameter.data = weight.T.contiguous() if name == "proxy_nca" else weight
    value: float = loss(torch.eye(DIM, dtype=torch.float64)[:1], torch.tensor([0])).item()
    return value


@pytest.mark.parametrize(
    ("name", "knobs", "value"),
    [
        ("arcface", {}, 0.0006290652654),
        ("arcface", {"margin": math.degrees(0.5)}, 0.0006604317828),
        ("arcface", {"margin": math.degrees(0.5), "scale": 8.0}, 0.3419825924),
        ("cosface", {}, 6.7726443e-05),
        ("cosface", {"scale": 8.0}, 0.267513122),
        ("normalized_softmax", {}, 4.540096028e-05),
        ("normalized_softmax", {"temperature": 0.5}, 0.4076059644),
    ],
)
def test_published_softmax_losses(name: str, knobs: dict[str, float], value: float) -> None:
    assert with_cosines(name, [0.8, 0.3, -0.2], **knobs) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(("scale", "value"), [(1.0, 0.6271230573), (10.0, 0.01815003843)])
def test_published_proxy_nca(scale: float, value: float) -> None:
    """The library's, whose softmax has the own proxy in it; squared distances 0.4, 2 and 0.8."""
    cos = [1 - d / 2 for d in (0.4, 2.0, 0.8)]
    assert with_cosines("proxy_nca", cos, softmax_scale=scale) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("la", "value"), [(20.0, 0.002697129904), (4.0, 0.2672800005)])
def test_published_soft_triple(la: float, value: float) -> None:
    loss: Any = losses.SoftTripleLoss(2, 3, centers_per_class=2, la=la, gamma=0.1, margin=0.01)
    cos = torch.tensor([0.8, 0.2, 0.5, 0.1], dtype=torch.float64)
    loss.fc.data = torch.stack([cos, (1 - cos**2).sqrt(), 0 * cos])
    z = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    assert loss(z, torch.tensor([0])).item() == pytest.approx(value, rel=1e-6)


# --- the method ---------------------------------------------------------------------------------


class Flat(nn.Module):
    num_features = 12

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def method_with(loss: Any, miner: nn.Module | None = None, **knobs: Any) -> MetricLearning:
    return MetricLearning(
        Flat(), partial(Linear, out_dim=DIM), loss, miner or AllTuples(), num_classes=3, **knobs
    ).double()


def images(labels: Tensor) -> MultiViewBatch:
    generator = torch.Generator().manual_seed(1)
    view = torch.randn(len(labels), 3, 2, 2, generator=generator, dtype=torch.float64)
    return MultiViewBatch([view], labels, torch.arange(len(labels)))


def test_the_loss_sees_normalised_embeddings_and_their_labels() -> None:
    torch.manual_seed(0)
    labels = torch.arange(3).repeat(4)
    # dot products, so that lengths would show
    method = method_with(losses.MultiSimilarityLoss())
    output = method.step(images(labels))
    z = normalize(output.embedding, dim=1)
    assert (output.embedding.norm(dim=1) - 1).abs().max() > 0.1  # z itself is not normalised
    pos = [[float(z[a] @ z[b]) for b in range(12) if b != a and b % 3 == a % 3] for a in range(12)]
    neg = [[float(z[a] @ z[b]) for b in range(12) if b % 3 != a % 3] for a in range(12)]
    terms = [
        math.log(1 + sum(math.exp(-2 * (s - 0.5)) for s in p)) / 2
        + math.log(1 + sum(math.exp(50 * (s - 0.5)) for s in n)) / 50
        for p, n in zip(pos, neg, strict=True)
    ]
    assert output.loss.item() == pytest.approx(sum(terms) / 12)
    assert torch.equal(output.representation, images(labels).views[0].flatten(1))


class Lengths(nn.Module):
    """A loss that grows with the embeddings' length."""

    def forward(self, z: Tensor, labels: Tensor, tuples: Any) -> Tensor:
        return z.norm(dim=1).sum()


def test_embeddings_have_length_one_and_unlabelled_images_take_no_part() -> None:
    labels = torch.tensor([0, 0, -1, 1, 1, -1])
    assert method_with(Lengths()).step(images(labels)).loss.item() == pytest.approx(4.0)


def test_mined_pairs_and_triplets_are_counted() -> None:
    torch.manual_seed(0)
    labels = torch.arange(3).repeat(4)
    contrast = method_with(losses.ContrastiveLoss(), DisjointPairs()).step(images(labels))
    assert {k: int(v) for k, v in contrast.metrics.items()} == {
        "positive_pairs": 3,
        "negative_pairs": 3,
    }
    three = method_with(losses.TripletMarginLoss(), DisjointTriplets()).step(images(labels))
    assert {k: int(v) for k, v in three.metrics.items()} == {"triplets": 4}
    assert method_with(losses.ContrastiveLoss()).step(images(labels)).metrics == {}
    mined = method_with(losses.ContrastiveLoss(), MultiSimilarityMiner(0.1))
    output = mined.step(images(labels))
    z = normalize(output.embedding, dim=1)
    count = sum(  # Wang et al. 2019, eq. 11: a positive below the hardest negative + epsilon
        float(z[a] @ z[p]) < max(float(z[a] @ z[n]) for n in range(12) if n % 3 != a % 3) + 0.1
        for a in range(12)
        for p in range(12)
        if p != a and p % 3 == a % 3
    )
    assert int(output.metrics["positive_pairs"]) == count


def test_bfloat16_embeddings_leave_the_class_weights_as_they_are() -> None:
    method = method_with(partial(losses.ArcFaceLoss)).float()
    view = images(torch.arange(3).repeat(4))
    view = view._replace(views=[view.views[0].float()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = method.step(view)
    assert output.embedding.dtype == torch.bfloat16
    assert output.loss.dtype == method.loss.W.dtype == torch.float32
    exact = method.loss(normalize(output.embedding.float(), dim=1), view.label)
    assert output.loss.item() == pytest.approx(exact.item(), rel=1e-6)  # in full precision


def test_no_parameter_is_left_out_of_the_groups() -> None:
    method = method_with(partial(losses.SoftTripleLoss), lr_multipliers={"backbone": 0.5})
    groups = method.param_groups()
    assert [group["name"] for group in groups] == ["embedder", "loss"]  # Flat has no parameters
    assert {p for g in groups for p in g["params"]} == set(method.parameters())
    assert [group["constant_lr"] for group in groups] == [False, True]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.lr_multipliers.backbone=-1"], r"lr_multipliers\.backbone=-1: give a number of"),
        (["+method.lr_multipliers.head=1"], r"lr_multipliers\.head: there are backbone and"),
        (["+method.metric_loss.margn=1"], r"method\.metric_loss: .*margn"),
        (["method.images_per_class=3"], r"images_per_class=3 does not divide the 64"),
        (["method.images_per_class=4"], r"asks for 16 classes .* has 10: lower batch_size to 40"),
    ],
)
def test_what_makes_no_sense_is_told(make_config: Make, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        batch_of(make_config("method=metric_learning", "method/metric_loss=arcface", *overrides))


def batch_of(cfg: DictConfig) -> Any:
    data: DataModule = build(cfg.data)
    build_method(cfg, data)
    return next(iter(data.train_dataloader()))


def test_without_labels_it_is_told(make_config: Make) -> None:
    with pytest.raises(UserError, match=r"metric_learning needs labels, but these images have"):
        MetricLearning(Flat(), MLP, Lengths(), AllTuples(), num_classes=0)


def test_without_the_library_it_is_told(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = make_config("method=metric_learning")
    data: DataModule = build(cfg.data)
    # as if it were not installed: the import system itself, none of our code
    monkeypatch.setitem(__import__("sys").modules, "pytorch_metric_learning", None)
    with pytest.raises(UserError, match=r'not installed: pip install "ssl_zoo\[metric\]"$'):
        build_method(cfg, data)
    simclr = make_config("method=simclr")
    assert build_method(simclr, build(simclr.data))


# --- frozen batch norm --------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_keep_their_statistics_and_mode(
    make_config: Make, tmp_path: Path, frozen: bool
) -> None:
    cfg = make_config(*ARCFACE, f"method.freeze_batchnorm={str(frozen).lower()}", "epochs=2")
    train(cfg)
    saved = dict(state(tmp_path / "run"))["state_dict"]
    assert isinstance(saved, dict)
    torch.manual_seed(0)
    fresh = build_method(cfg, build(cfg.data))
    for name, before in fresh.state_dict().items():
        if "running_" in name:
            assert torch.equal(saved[name], before) == frozen, name
        if name.endswith("num_batches_tracked"):
            assert int(saved[name]) == (0 if frozen else 8)
    norms = [m for m in fresh.encoder.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    convs = [m for m in fresh.encoder.backbone.modules() if isinstance(m, nn.Conv2d)]
    for _ in range(2):
        assert len(norms) == 2
        assert all(norm.training == (not frozen) for norm in norms)
        assert all(conv.training for conv in convs)
        assert all(norm.weight.requires_grad for norm in norms)
        fresh.eval()
        fresh.train()


# --- the flawed baselines -----------------------------------------------------------------------


def seen_twice(tuples: tuple[Tensor, ...]) -> bool:
    index = torch.cat(tuples)
    return len(index.unique()) < len(index)


@pytest.mark.parametrize(("m", "classes"), [(4, 8), (2, 6), (4, 3), (4, 5), (8, 8)])
def test_flawed_tuples_are_disjoint_and_so_many(m: int, classes: int) -> None:
    names = torch.randperm(100, generator=torch.Generator().manual_seed(m))[:classes]
    labels = names.repeat_interleave(m)
    size = len(labels)
    a, p, b, n = DisjointPairs()(torch.zeros(size, 2), labels)
    assert (len(a), len(b)) == (size // 4, size // 2 - size // 4)
    assert not seen_twice((a, p, b, n))
    pairs_ = torch.stack([torch.cat([a, b]), torch.cat([p, n])], dim=1)
    assert len(pairs_) == size // 2
    assert (labels[a] == labels[p]).all()
    assert (labels[b] != labels[n]).all()
    anchor, positive, negative = DisjointTriplets()(torch.zeros(size, 2), labels)
    assert len(anchor) == size // 3
    assert not seen_twice((anchor, positive, negative))
    assert (labels[anchor] == labels[positive]).all()
    assert (labels[anchor] != labels[negative]).all()


def test_flawed_tuples_of_any_batch_are_valid() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        labels = torch.randint(0, 6, (31,), generator=generator)
        a, p, b, n = DisjointPairs()(torch.zeros(31, 2), labels)
        assert len(a) + len(b) == 15
        assert not seen_twice((a, p, b, n))
        assert (labels[a] == labels[p]).all()
        assert (labels[b] != labels[n]).all()
        anchor, positive, negative = DisjointTriplets()(torch.zeros(31, 2), labels)
        assert not seen_twice((anchor, positive, negative))
        assert (labels[anchor] == labels[positive]).all()
        assert (labels[anchor] != labels[negative]).all()


@pytest.mark.parametrize("kind", ["contrastive", "triplet"])
def test_flawed_rows(make_config: Make, kind: str) -> None:
    cfg = make_config(f"ablation=metric_learning_flawed_{kind}")
    knobs = {"contrastive": "neg_margin", "triplet": "margin"}
    assert cfg.method.metric_loss[knobs[kind]] == 1.0
    miner = {"contrastive": "DisjointPairs", "triplet": "DisjointTriplets"}[kind]
    assert cfg.method.miner._target_ == f"ssl_zoo.modules.miners.{miner}"


# --- the loss's own optimizer -------------------------------------------------------------------


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body = nn.Parameter(torch.randn(4, 3, generator=generator))
        self.bias = nn.Parameter(torch.randn(3, generator=generator))
        self.proxies = nn.Parameter(torch.randn(3, 3, generator=generator))

    def groups(self) -> list[dict[str, Any]]:
        body = {"name": "body", "params": [self.body, self.bias], "lr_multiplier": 0.1}
        return [
            body | {"constant_lr": False},
            {"name": "loss", "params": [self.proxies], "constant_lr": True},
        ]

    def value(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 4, generator=generator)
        return softplus((x @ self.body + self.bias) @ self.proxies.T).mean()


BODY = partial(build_optimizer, optimizer=partial(torch.optim.AdamW, lr=0.2), weight_decay=0.1)
LOSS = partial(torch.optim.RMSprop, lr=0.05, momentum=0.9)


def joint(parts: TwoParts) -> Any:
    return build_joint_optimizer(parts.groups(), BODY, LOSS)


def run(parts: TwoParts, optimizers: list[Any], steps: range) -> None:
    for step in steps:
        for optimizer in optimizers:
            optimizer.zero_grad()
        parts.value(step).backward()
        for optimizer in optimizers:
            optimizer.step()


def test_joint_steps_equal_those_of_two_optimizers() -> None:
    ours, theirs = TwoParts(), TwoParts()
    run(ours, [joint(ours)], range(5))
    separate = [  # decay on the matrix alone, a tenth of the rate
        torch.optim.AdamW(
            [
                {"params": [theirs.body], "weight_decay": 0.1},
                {"params": [theirs.bias], "weight_decay": 0.0},
            ],
            lr=0.02,
        ),
        torch.optim.RMSprop([theirs.proxies], lr=0.05, momentum=0.9),
    ]
    run(theirs, separate, range(5))
    assert_equal(ours.state_dict(), theirs.state_dict(), "weights")
    assert not torch.equal(ours.proxies, TwoParts().proxies)


def test_joint_state_is_saved_whole() -> None:
    whole, first = TwoParts(), TwoParts()
    run(whole, [joint(whole)], range(6))
    optimizer = joint(first)
    run(first, [optimizer], range(3))
    second = TwoParts()
    second.load_state_dict(first.state_dict())
    resumed = joint(second)
    resumed.load_state_dict(optimizer.state_dict())
    run(second, [resumed], range(3, 6))
    assert_equal(second.state_dict(), whole.state_dict(), "weights")
    assert len(resumed.state) == 3


def test_the_schedule_moves_the_encoder_alone() -> None:
    parts = TwoParts()
    optimizer = joint(parts)
    scheduler = warmup_cosine(optimizer, total_steps=4, warmup_epochs=0, epochs=1)
    rates = []
    for step in range(4):
        rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        run(parts, [optimizer], range(step, step + 1))
        scheduler.step()
    assert list(rates[0]) == ["body", "body_no_decay", "loss"]
    assert [r["body"] for r in rates] == pytest.approx(
        [0.02 * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    )
    assert [r["loss"] for r in rates] == [0.05] * 4
    assert [part.param_groups[0]["lr"] for part in optimizer.optimizers] == [0.0, 0.05]


def test_a_loss_without_parameters_needs_no_second_optimizer() -> None:
    parts = TwoParts()
    plain = build_joint_optimizer(parts.groups()[:1], BODY, LOSS)
    assert isinstance(plain, torch.optim.AdamW)
    assert isinstance(joint(parts), JointOptimizer)
    assert constant(plain, total_steps=3)


# --- complete runs ------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_with_its_proxies_and_its_order(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*ARCFACE, "epochs=3", "callbacks=none"]
    train(make_config(*overrides, run="whole"))
    train_with_signal(make_config(*overrides, run="stopped"), 6, monkeypatch)  # 4 steps an epoch
    assert int(str(state(tmp_path / "stopped")["global_step"])) == 6
    train(make_config(f"resume={tmp_path / 'stopped'}"))
    ours, theirs = state(tmp_path / "stopped"), state(tmp_path / "whole")
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_equal(ours[part], theirs[part], part)
    names = [group["name"] for group in theirs["optimizer_states"][0]["param_groups"]]  # type: ignore[index]
    assert names == ["backbone", "backbone_no_decay", "embedder", "embedder_no_decay", "loss"]
    weights = theirs["state_dict"]
    assert weights["loss.W"].shape == (128, 10)  # type: ignore[index]


def test_what_watches_changes_nothing(make_config: Make, tmp_path: Path) -> None:
    split = [*ARCFACE, "dataset.class_split=hash", "batch_size=16", "epochs=2"]
    train(make_config(*split, run="watched"))
    train(make_config(*split, "callbacks=none", run="alone"))
    watched, alone = state(tmp_path / "watched"), state(tmp_path / "alone")
    for part in ("state_dict", "optimizer_states"):
        assert_equal(watched[part], alone[part], part)
    assert watched["state_dict"]["loss.W"].shape == (128, 3)  # type: ignore[index]


def test_rates_and_counts_are_logged(make_config: Make, tmp_path: Path) -> None:
    train(make_config(*ARCFACE, "method/miner=flawed_triplet", "method.loss_lr=0.03"))
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {row["name"] for row in rows}
    parts = ("backbone", "embedder", "loss")
    assert {f"lr/{part}" for part in parts} <= names
    assert {row["value"] for row in rows if row["name"] == "lr/loss"} == {"0.03"}
    counts = {float(row["value"]) for row in rows if row["name"] == "train/triplets"}
    assert counts == {21.0}  # 64 / 3


def test_batches_hold_m_images_of_each_class(make_config: Make) -> None:
    data: DataModule = build(make_config(*ARCFACE).data)
    batches = list(data.train_dataloader())
    assert len(batches) == data.steps_per_epoch == 4
    for found in batches:
        assert found.label.view(8, 8).unique(dim=1).shape == (8, 1)
        assert len(found.label.unique()) == 8


def test_classes_of_few_images_are_told_once(
    make_config: Make, caplog: pytest.LogCaptureFixture
) -> None:
    data: DataModule = build(make_config(*ARCFACE, "method.images_per_class=32").data)
    counts = data.train.labels.bincount()
    short = int((counts < 32).sum())
    assert 0 < short <= 10
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        for _ in range(2):
            data.train_dataloader()
    told = [record.getMessage() for record in caplog.records]
    line = "classes have fewer images than method.images_per_class=32: batches repeat them"
    assert told == [f"{short} {line}"]


# --- GoogLeNet ----------------------------------------------------------------------------------


def test_googlenet_gives_features_while_it_trains() -> None:
    backbone = googlenet().train()
    features = backbone(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 1024)
    assert backbone.num_features == 1024
    assert any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
    with pytest.raises(UserError, match=r"backbone\.weights=foo is unknown: googlenet has"):
        googlenet("foo")
