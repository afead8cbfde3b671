"""Metric learning as a method: what its loss sees, and what is told."""

from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.miners import (
    BatchEasyHardMiner,
    MultiSimilarityMiner,
    TripletMarginMiner,
)
from torch import Tensor, nn
from torch.nn.functional import normalize

from helpers import steps
from helpers.configs import Make
from helpers.metric_learning import ARCFACE, DIM, batch_of
from helpers.pseudo_code import BATCH, LR, Case, Net, Trained, batches, descend, plain, unit
from ssl_zoo.config import CONFIG_DIR
from ssl_zoo.config import instantiate as build
from ssl_zoo.data import DataModule
from ssl_zoo.methods import Method, MetricLearning
from ssl_zoo.methods.metric_learning import check_numbers
from ssl_zoo.modules import MLP, Linear
from ssl_zoo.modules.miners import AllTuples, DisjointPairs, DisjointTriplets
from ssl_zoo.training.build import build_method
from ssl_zoo.types import BadValue, Facts, MultiViewBatch, UserError


class Flat(nn.Module):
    num_features = 12

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def method_with(loss: Any, miner: nn.Module | None = None, **knobs: Any) -> MetricLearning:
    knobs |= {"facts": Facts(num_classes=3)}
    return MetricLearning(
        Flat(), partial(Linear, out_dim=DIM), loss, miner or AllTuples(), **knobs
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
        (["method.lr_multipliers.backbone=-1"], r"lr_multipliers\.backbone=-1: must be a number"),
        (["+method.lr_multipliers.head=1"], r"lr_multipliers\.head: there are only backbone and"),
        (["+method.metric_loss.margn=1"], r"loss: .*margn"),
        (["method.images_per_class=3"], r"images_per_class=3 does not divide the 64"),
        (["method.images_per_class=4"], r"asks for 16 classes .* has 10: lower batch_size to 40"),
    ],
)
def test_what_makes_no_sense_is_told(make_config: Make, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        batch_of(make_config("method=metric_learning", "method/metric_loss=arcface", *overrides))


def options(slot: str) -> list[Path]:
    return sorted((Path(CONFIG_DIR) / "method" / slot).glob("[!o]*.yaml"))  # "other" names none


@pytest.mark.parametrize("file", options("metric_loss") + options("miner"), ids=lambda f: f.stem)
def test_a_text_for_a_number_is_told(file: Path) -> None:
    """Some parts refuse it themselves; of those that would fail in the first step, we do."""
    for key, value in OmegaConf.load(file).items():
        if isinstance(value, int | float) and not str(key).startswith("_"):
            node = OmegaConf.merge(OmegaConf.load(file), {key: "abc"})
            with pytest.raises(
                UserError,
                match=rf"^part\.{key}=abc: must be a number$|could not convert|invalid literal",
            ):
                check_numbers("part", build(OmegaConf.create({"part": node}).part))
        check_numbers("part", build(OmegaConf.load(file)))


def test_a_text_stays_a_text() -> None:
    check_numbers("loss", losses.TripletMarginLoss(triplets_per_anchor="all"))
    check_numbers("miner", BatchEasyHardMiner("easy", "hard"))
    check_numbers("loss", lambda **sizes: losses.ArcFaceLoss(**sizes))
    with pytest.raises(BadValue, match=r"^miner\.margin=all: must be a number$"):
        check_numbers("miner", TripletMarginMiner(margin="all"))
    with pytest.raises(BadValue, match=r"^loss\.scale=abc: must be a number$"):
        method_with(partial(losses.ArcFaceLoss, scale="abc"))
    with pytest.raises(BadValue, match=r"^miner\.epsilon=abc: must be a number$"):
        method_with(losses.ContrastiveLoss(), MultiSimilarityMiner("abc"))


def test_without_labels_it_is_told(make_config: Make) -> None:
    with pytest.raises(UserError, match=r"MetricLearning needs labels, but these images have"):
        MetricLearning(Flat(), MLP, Lengths(), AllTuples(), facts=Facts(num_classes=0))


def test_without_the_library_it_is_told(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = make_config("method=metric_learning")
    data: DataModule = build(cfg.data)
    # as if it were not installed: the import system itself, none of our code
    monkeypatch.setitem(__import__("sys").modules, "pytorch_metric_learning", None)
    with pytest.raises(UserError, match=r'not installed: pip install "ssl_zoo\[metric\]"$'):
        build_method(cfg, data)
    simclr = make_config("method=simclr")
    assert build_method(simclr, build(simclr.data))


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two(loss: Any, miner: nn.Module) -> Method:
    return MetricLearning(
        steps.net(), steps.HEAD, loss, miner, facts=Facts(num_classes=steps.CLASSES)
    )


TWO_PROCESSES = {
    "metric_learning_pairs": partial(
        on_two, losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner()
    ),
    "metric_learning_proxies": partial(on_two, partial(losses.ArcFaceLoss, scale=4), AllTuples()),
}
RUNS_OF_TWO = {
    "metric_learning": [
        *("method=metric_learning", "method/metric_loss=arcface", "method.images_per_class=32"),
        *("dataset.class_split=contiguous", "dataset.splits.num_train=480"),
    ]
}
RESUMES = {"metric_learning": ARCFACE}


def labelled() -> list[MultiViewBatch]:
    return [batch._replace(views=batch.views[:1], label=batch.index % 3) for batch in batches()]


def contrastive(method: Method) -> Trained:
    """Musgrave et al. 2020: the means over the pairs of either kind that cost something."""
    f = plain(method)
    optimizer = torch.optim.SGD(f.parameters(), lr=LR, momentum=0.9)
    losses = []
    for batch in labelled():
        z, label = unit(f(batch.views[0])), batch.label
        near, far = [], []
        for i, j in itertools.permutations(range(BATCH), 2):
            distance = (z[i] - z[j]).square().sum().sqrt()
            if label[i] == label[j]:
                near.append(distance)
            elif distance < 1:
                far.append(1 - distance)
        loss = torch.stack(near).mean() + torch.stack(far).mean()
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": f}


def of_contrastive() -> Method:
    projector, loss = partial(Linear, out_dim=4), losses.ContrastiveLoss()
    return MetricLearning(Net(), projector, loss, AllTuples(), facts=Facts(num_classes=3))


PSEUDO_CODE = {"metric_learning": Case(of_contrastive, contrastive, labelled)}
