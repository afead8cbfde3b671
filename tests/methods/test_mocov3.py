"""MoCo v3 against the official code's values and the paper's algorithm 1."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.configs import Make
from helpers.golden import assert_golden, golden, golden_names, tensor, wrong_forms, wrong_value
from helpers.official import TWO_TAU, Flat, bare
from helpers.pseudo_code import LR, STEPS, Case, Net, Trained, batches, descend, unit
from helpers.steps import HEAD, PREDICTOR, net
from helpers.tiers import every
from ssl_zoo.config import instantiate
from ssl_zoo.methods import Method, MoCoV3
from ssl_zoo.modules import MLP, Identity, InBatch, Momentum
from ssl_zoo.optim import LARS, build_optimizer, warmup_cosine
from ssl_zoo.types import Embeddings, Facts, MultiViewBatch

pytestmark = pytest.mark.usefixtures("double")

GOLDEN_LOSSES = golden_names("mocov3/b")


def objective(method: Method, name: str) -> tuple[Tensor, list[Tensor]]:
    """The loss of an entry's queries and keys, and the queries."""
    q1, q2, k1, k2 = (tensor(golden(name)["inputs"][x]) for x in ("q1", "q2", "k1", "k2"))
    queries = [q1.requires_grad_(), q2.requires_grad_()]
    index = torch.arange(len(q1))
    passes = Embeddings(q1.detach(), queries, {0: k1, 1: k2}, queries)
    return method.objective(passes, index, index).loss, queries


@pytest.mark.parametrize("name", every(4, GOLDEN_LOSSES))
def test_loss_and_gradients_are_the_official_codes(name: str) -> None:
    method = bare(golden(name)["settings"]["T"])
    loss, queries = objective(method, name)
    loss.backward()
    expected = golden(name)["expected"]
    assert_golden(loss, expected["loss"])
    index = torch.arange(len(queries[0]))
    for view, half in enumerate(("loss_q1_k2", "loss_q2_k1")):
        key = tensor(golden(name)["inputs"][f"k{2 - view}"])
        assert_golden(method._contrast(queries[view], key, index)[0], expected[half])
    for query, key in zip(queries, ("grad_q1", "grad_q2"), strict=True):
        assert_golden(query.grad, expected[key])


@pytest.mark.slow
def test_the_defaults_are_the_official_loss(make_config: Make) -> None:
    """As the config builds it, at two temperatures."""
    for name in ("mocov3/b8_d4_t0.2", "mocov3/b8_d4_t1.0"):
        knob = f"method.temperature={golden(name)['settings']['T']}"
        cfg = make_config("method=mocov3", knob, "method.embed_dim=4", "method.hidden_dim=8")
        method = instantiate(cfg.method.module, _partial_=True)(facts=Facts()).double()
        assert_golden(objective(method, name)[0], golden(name)["expected"]["loss"])


# --- steps and schedules ------------------------------------------------------------------------


@pytest.mark.slow
def test_three_steps_are_the_official_codes() -> None:
    """Queries, the slow encoder by the step's momentum, keys, loss, LARS."""
    settings, inputs, expected = (
        golden("mocov3/3_steps")[k] for k in ("settings", "inputs", "expected")
    )
    predictor = partial(MLP, num_layers=1, out_bias=False)
    method = MoCoV3(Flat(4, 3), Identity, predictor, Momentum, InBatch, TWO_TAU(settings["T"]))
    target: Any = method.target
    base, slow = method.encoder.backbone, target.encoder.backbone
    for weights in (base, slow):
        weights.weight.data, weights.bias.data = tensor(inputs["W"]), tensor(inputs["b"])
    method.predictor[0].weight.data = tensor(inputs["predictor"])
    optimizer = build_optimizer(
        method.param_groups(),
        partial(LARS, lr=settings["lr"], momentum=settings["momentum"], lr_in_buffer=False),
        weight_decay=settings["weight_decay"],
    )
    index = torch.arange(len(inputs["x1"][0]))
    following = [*settings["m_of_step"][1:], 1.0]  # the official code moves it in the next step
    for k, momentum in enumerate(following):
        views = [tensor(inputs["x1"][k]), tensor(inputs["x2"][k])]
        loss = method.step(MultiViewBatch(views, index, index)).loss
        assert_golden(loss, expected[f"{k}.loss"])
        assert_golden(slow.weight, expected[f"{k}.momentum_weight"])
        assert_golden(slow.bias, expected[f"{k}.momentum_bias"])
        descend(optimizer, loss)
        assert_golden(base.weight, expected[f"{k}.base_weight"])
        assert_golden(base.bias, expected[f"{k}.base_bias"])
        assert_golden(method.predictor[0].weight, expected[f"{k}.predictor"])
        target.momentum = momentum
        method.update(progress=0.0)


@pytest.mark.slow
def test_momentum_and_rate_are_the_official_codes() -> None:
    settings, inputs, expected = (
        golden("mocov3/schedules")[k] for k in ("settings", "inputs", "expected")
    )
    total = settings["epochs"] * settings["steps_per_epoch"]
    target = partial(Momentum, momentum=settings["moco_m"], final_momentum=1.0)
    method = MoCoV3(
        Flat(3, 3),
        Identity,
        Identity,
        target,
        InBatch,
        TWO_TAU(1.0),
        facts=Facts(total_steps=total),
    )
    followed: Any = method.target
    optimizer = torch.optim.SGD(method.parameters(), lr=settings["lr"])
    lengths = {"warmup_epochs": settings["warmup_epochs"], "epochs": settings["epochs"]}
    schedule = warmup_cosine(optimizer, total_steps=total, **lengths).lr_lambdas[0]
    for step, momentum, rate in zip(
        inputs["step"], expected["momentum"], expected["lr"], strict=True
    ):
        if step:  # before the first step the official code moves a copy
            method.update(progress=(step - 1) / total)
            assert followed.latest == pytest.approx(momentum, rel=1e-9)
        assert settings["lr"] * schedule(step) == pytest.approx(rate, rel=1e-9)
    method.update(progress=(total - 1) / total)
    assert followed.latest == 1.0


# --- wrong forms: each is what a change of one line would compute ---------------------------------


def form_of(name: str, form: str) -> float:
    inputs, tau = golden(name)["inputs"], golden(name)["settings"]["T"]
    q1, q2, k1, k2 = (unit(tensor(inputs[x])) for x in ("q1", "q2", "k1", "k2"))
    n = len(q1)

    def contrast(q: Tensor, k: Tensor) -> Tensor:
        return nn.functional.cross_entropy(q @ k.T / tau, torch.arange(n))

    def nt_xent(q: Tensor, k: Tensor) -> Tensor:
        both = torch.cat([q, k])
        logits = (both @ both.T / tau).fill_diagonal_(-math.inf)
        return nn.functional.cross_entropy(logits, torch.arange(2 * n).roll(n))

    right = contrast(q1, k2) + contrast(q2, k1)
    forms = {
        "without_2_tau": right,
        "halved_without_2_tau": right / 2,
        "same_view": 2 * tau * (contrast(q1, k1) + contrast(q2, k2)),
        "nt_xent": nt_xent(q1, k2),
    }
    return forms[form].item()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), wrong_forms("mocov3"))
def test_a_wrong_form_is_another_number(name: str, form: str) -> None:
    """The form, written out, gives the number that is known of it; ours does not."""
    known = wrong_value(name, form)
    assert form_of(name, form) == pytest.approx(known, rel=1e-8)
    loss, _ = objective(bare(golden(name)["settings"]["T"]), name)
    assert loss.item() != pytest.approx(known, rel=1e-6)


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two() -> Method:
    target = partial(Momentum, momentum=0.8, final_momentum=1.0)
    loss, facts = TWO_TAU(0.2), Facts(total_steps=STEPS)
    return MoCoV3(net(), HEAD, PREDICTOR, target, InBatch, loss, facts=facts)


TWO_PROCESSES = {"mocov3": on_two}
NARROW = [f"method.{width}=16" for width in ("hidden_dim", "predictor_dim")]
RUNS_OF_TWO = {
    "mocov3": [
        *("method=mocov3", *NARROW, "method.projector.hidden_norm=false"),
        *("method.projector.out_norm=none", "method.predictor.hidden_norm=false"),
        *("method.temperature=0.2", "callbacks=none"),
    ]
}
RESUMES = {"mocov3": ["method=mocov3", *NARROW, "method.embed_dim=16", "method.temperature=0.2"]}

MOMENTUM, TEMPERATURE = 0.9, 0.3


def make() -> Method:
    projector = partial(MLP, out_dim=4, hidden_dim=6, out_norm="plain")
    predictor = partial(MLP, hidden_dim=24, out_bias=False)  # no row is off in all of them
    target = partial(Momentum, momentum=MOMENTUM, final_momentum=1.0)
    loss, facts = TWO_TAU(TEMPERATURE), Facts(total_steps=STEPS)
    return MoCoV3(Net(), projector, predictor, target, InBatch, loss, facts=facts)


def algorithm_1(method: Method) -> Trained:
    """The order of the official code: the slow encoder moves before the keys are made."""
    base = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    slow, pred = copy.deepcopy(base), copy.deepcopy(method.predictor)
    optimizer = torch.optim.SGD([*base.parameters(), *pred.parameters()], lr=LR, momentum=0.9)
    losses = []
    for step, batch in enumerate(batches()):
        x1, x2 = batch.views
        q1, q2 = pred(base(x1)), pred(base(x2))
        m = 1 - (1 - MOMENTUM) * (1 + math.cos(math.pi * step / STEPS)) / 2
        with torch.no_grad():
            for p, p_slow in zip(base.parameters(), slow.parameters(), strict=True):
                p_slow.copy_(m * p_slow + (1 - m) * p)
            k1, k2 = slow(x1), slow(x2)
        loss = torch.zeros(())
        for q, k in ((unit(q1), unit(k2)), (unit(q2), unit(k1))):
            for i in range(len(q)):
                logits = torch.stack([q[i] @ one for one in k]) / TEMPERATURE
                log_p = logits[i] - logits.exp().sum().log()
                loss = loss - 2 * TEMPERATURE * log_p / len(q)
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": base, "target.encoder": slow, "predictor": pred}


PSEUDO_CODE = {"mocov3": Case(make, algorithm_1)}
