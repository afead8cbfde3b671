"""SwAV against the official code's values, and its paper's algorithm 1 in plain PyTorch."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.golden import assert_golden, golden, golden_names, tensor, wrong_forms, wrong_value
from helpers.pseudo_code import BATCH, LR, Case, Trained, batches, crops, unit
from helpers.steps import HEAD, Normed, net
from helpers.tiers import only
from ssl_zoo.losses import swapped_prediction
from ssl_zoo.methods import Method, SwAV
from ssl_zoo.modules import MLP, EmbeddingQueue, Prototypes, Sinkhorn, Softmax
from ssl_zoo.optim import LARS
from ssl_zoo.types import BadValue, Facts, MultiViewBatch

pytestmark = pytest.mark.usefixtures("double")

LOSSES = golden_names("swav/loss")
STEPS = ["swav/5_steps_queue8_b4", "swav/3_steps_no_queue_2views_b2"]

# --- the loss ------------------------------------------------------------------------------------


def scores_of(name: str) -> tuple[Tensor, dict[int, Tensor]]:
    """The leaf, and the codes of the views that have one."""
    settings = golden(name)["settings"]
    scores = tensor(golden(name)["inputs"]["scores"]).requires_grad_()
    sinkhorn = Sinkhorn(settings["epsilon"], settings["iterations"])
    return scores, {view: sinkhorn(scores[view]) for view in settings["crops_for_assign"]}


@pytest.mark.parametrize("name", only(["swav/loss_2global_2local_b4_k6"], LOSSES))
def test_loss_and_gradient_are_the_official_codes(name: str) -> None:
    scores, codes = scores_of(name)
    loss = swapped_prediction(scores, codes, golden(name)["settings"]["temperature"])
    assert_golden(loss, golden(name)["expected"]["loss"])
    loss.backward()
    assert_golden(scores.grad, golden(name)["expected"]["grad_scores"])


def form_of(name: str, form: str) -> Tensor:
    scores, codes = scores_of(name)
    views, images, temperature = len(scores), scores.shape[1], 0.1
    sinkhorn = Sinkhorn()
    if form == "codes_of_local_crops_too":
        codes = {view: sinkhorn(scores[view]) for view in range(views)}
    if form == "softmax_codes":
        codes = {view: Softmax()(scores[view]) for view in codes}
    if form == "all_crops_together":
        codes = dict(enumerate(sinkhorn(scores[:2].flatten(0, 1)).chunk(2)))
    loss = swapped_prediction(scores, codes, temperature)
    if form == "summed":
        return loss * len(codes) * (views - 1)
    if form == "own_view_included":
        log_p = (scores / temperature).log_softmax(dim=2)
        own = sum(-(code * log_p[view]).sum() / images for view, code in codes.items())
        return (loss * len(codes) * (views - 1) + own) / (len(codes) * views)
    return loss


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), wrong_forms("swav"))
def test_a_wrong_form_is_another_number(name: str, form: str) -> None:
    known, (scores, codes) = wrong_value(name, form), scores_of(name)
    assert form_of(name, form).item() == pytest.approx(known, rel=1e-8)
    assert swapped_prediction(scores, codes, 0.1).item() != pytest.approx(known, rel=1e-6)


# --- the official code's steps -------------------------------------------------------------------


class Vectors(nn.Identity):
    """The backbone of a golden entry, whose views are vectors."""

    num_features = 0


def one_layer(weight: Tensor, in_dim: int) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data.copy_(weight)
    layer.out_dim = len(weight)
    return layer


def official(name: str) -> SwAV:
    """One step is one epoch there."""
    settings, inputs = golden(name)["settings"], golden(name)["inputs"]
    weight = tensor(inputs["prototypes"])
    frozen, start = settings["freeze_prototypes_niters"], settings["queue_starts_at_step"]
    method = SwAV(
        Vectors(),
        partial(one_layer, tensor(inputs["encoder"])),
        partial(Prototypes, count=len(weight), frozen_epochs=frozen),
        Sinkhorn(settings["epsilon"], settings["iterations"]),
        partial(EmbeddingQueue, size=settings["queue_length"], start_epoch=start),
        temperature=settings["temperature"],
        facts=Facts(steps_per_epoch=1),
    )
    method.prototypes.weight.data.copy_(weight)
    return method


@pytest.mark.parametrize("name", only(STEPS[:1], STEPS))
def test_steps_with_queue_and_frozen_prototypes_are_the_official_codes(name: str) -> None:
    """With LARC; the queue is filled from the second step on, and used from the fourth."""
    settings, expected, method = golden(name)["settings"], golden(name)["expected"], official(name)
    optimizer = LARS(
        method.parameters(),
        lr=1.0,
        weight_decay=settings["weight_decay"],
        trust_coefficient=settings["trust_coefficient"],
        trust="separate",
        lr_in_buffer=False,
    )
    codes: list[Tensor] = []
    method.assignment.register_forward_hook(lambda *passed: codes.append(passed[2]))
    for k, step in enumerate(golden(name)["inputs"]["crops_of_step"]):
        optimizer.param_groups[0]["lr"] = expected[f"{k}.lr"]
        views = [tensor(view) for view in step]
        index = torch.arange(len(views[0]))
        loss = method.step(MultiViewBatch(views, index, index)).loss
        optimizer.zero_grad()
        loss.backward()
        method.before_step(0.0)
        optimizer.step()
        method.update(0.0)
        assert_golden(loss, expected[f"{k}.loss"])
        for crop in range(2):
            of_crop = codes[2 * k + crop]
            assert len(of_crop) == expected[f"{k}.rows_in_sinkhorn"]
            assert_golden(of_crop[-len(index) :], expected[f"{k}.codes_crop{crop}"])
        assert_golden(method.encoder.projector.weight, expected[f"{k}.encoder"])
        assert_golden(method.prototypes.weight, expected[f"{k}.prototypes"])
        if f"{k}.queue" in expected:
            assert_golden(method.queue.queue, expected[f"{k}.queue"])


@pytest.mark.slow
def test_larc_adapts_and_decays_biases() -> None:
    settings, inputs, expected = (
        golden("swav/larc_3_steps")[part] for part in ("settings", "inputs", "expected")
    )
    params = {name: nn.Parameter(tensor(inputs[name])) for name in ("w", "b")}
    knobs = {k: settings[k] for k in ("momentum", "weight_decay", "trust_coefficient")}
    optimizer = LARS(params.values(), 1.0, trust="separate", lr_in_buffer=False, **knobs)
    for k, lr in enumerate(settings["lr"]):
        optimizer.param_groups[0]["lr"] = lr
        for name, p in params.items():
            p.grad = tensor(inputs[f"grad_{name}"][k])
        optimizer.step()
        for name, p in params.items():
            assert_golden(p, expected[f"{k}.{name}"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "used"),
    [
        (length, used)
        for (length, batch, ranks), used in zip(
            golden("swav/queue_length_rounding")["inputs"]["queue_length_batch_per_gpu_world"],
            golden("swav/queue_length_rounding")["expected"]["used"],
            strict=True,
        )
        if used not in (0, length)
    ],
)
def test_a_queue_is_not_rounded_down(length: int, used: int) -> None:
    """The official code drops whole batches; a queue of its length is what it uses."""
    queue = EmbeddingQueue(dim=1, size=length)
    assert queue.queue.shape[1] == length != used


# --- the method ----------------------------------------------------------------------------------


def make(prototypes: Any = None, queue: Any = None, **shared: Any) -> SwAV:
    shared = {"facts": Facts(steps_per_epoch=1)} | shared
    return SwAV(
        Normed(),
        partial(MLP, out_dim=4, hidden_dim=6),
        prototypes or partial(Prototypes, count=5, frozen_epochs=1),
        Sinkhorn(),
        queue or partial(EmbeddingQueue, size=12, start_epoch=1),
        **shared,
    )


def test_the_backbone_sees_a_size_at_once_and_the_projector_all() -> None:
    method = make()
    seen: dict[str, list[tuple[int, ...]]] = {"backbone": [], "projector": []}
    for part, shapes in seen.items():
        module = getattr(method.encoder, part)
        module.register_forward_pre_hook(lambda _, a, to=shapes: to.append(tuple(a[0].shape)))
    embeddings = method.embed(crops()[0].views)
    assert seen["backbone"] == [(16, 3, 6, 6), (16, 3, 4, 4)]
    assert seen["projector"] == [(32, 6)]
    assert list(embeddings.target) == [0, 1]
    assert not any(z.requires_grad for z in embeddings.target.values())


@pytest.mark.slow
def test_views_that_it_takes() -> None:
    assert [make().takes_views(n) for n in (1, 2, 4)] == [False, True, True]
    assert not make(num_targets=3).takes_views(2)
    for knob, value in (("num_targets", 0), ("temperature", 0)):
        with pytest.raises(BadValue, match=rf"^{knob}={value}: "):
            make(**{knob: value})


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two() -> Method:
    """The prototypes learn, and the queue is filled, from the second step on."""
    queue = partial(EmbeddingQueue, size=13, start_epoch=0.5)
    prototypes = partial(Prototypes, count=5, frozen_epochs=0.5)
    return SwAV(net(), HEAD, prototypes, Sinkhorn(), queue, facts=Facts(steps_per_epoch=2))


TWO_PROCESSES = {"swav": on_two, "swav_multi_crop": on_two}
RUNS_OF_TWO = {
    "swav": [
        *("method=swav", "method.num_prototypes=20", "method.queue_size=100", "accumulate=2"),
        *("method.projector.hidden_norm=false", "callbacks=none"),
    ]
}
RESUMES = {
    "swav": [
        *("method=swav", "method.hidden_dim=16", "method.embed_dim=16", "method.num_prototypes=20"),
        *("method.queue_size=100", "method.frozen_epochs=1.5", "method.queue_start_epoch=0.5"),
        *("augmentation=multi_crop", "augmentation.small.count=2"),
    ]
}


def shares(scores: Tensor) -> Tensor:
    """Algorithm 1's `sinkhorn`, with its matrix of K prototypes and B samples."""
    q = (scores / 0.05).exp().T
    q /= q.sum()
    k, b = q.shape
    for _ in range(3):
        q /= q.sum(dim=1, keepdim=True) * k
        q /= q.sum(dim=0, keepdim=True) * b
    return (q * b).T


def algorithm_1(method: Method, data: list[MultiViewBatch], size: int, frozen: int) -> Trained:
    backbone, projector = copy.deepcopy([method.encoder.backbone, method.encoder.projector])
    c = nn.Parameter(method.prototypes.weight.detach().clone())
    past: list[list[Tensor]] = [[], []]  # of each view, the newest first
    optimizer = torch.optim.SGD(
        [*backbone.parameters(), *projector.parameters(), c], lr=LR, momentum=0.9
    )
    losses = []
    for step, (views, *_) in enumerate(data):
        with torch.no_grad():
            c /= c.norm(dim=1, keepdim=True)
        h = [backbone(torch.cat(views[:2]))]
        h += [backbone(torch.cat(views[2:]))] if views[2:] else []
        z = unit(projector(torch.cat(h))).split(BATCH)
        scores, loss = [x @ c.T for x in z], torch.zeros(())
        for i in range(2):
            with torch.no_grad():
                old = [x @ c.T for x in past[i]] if len(past[i]) == size else []
                code = shares(torch.stack([*old, *scores[i]]))[-BATCH:]
                if step >= 1:
                    past[i] = [*z[i].detach(), *past[i]][:size]
            for v in range(len(views)):
                if v != i:
                    p = (scores[v] / 0.1).exp()
                    p = p / p.sum(dim=1, keepdim=True)
                    loss = loss - (code * p.log()).sum() / BATCH / (len(views) - 1) / 2
        optimizer.zero_grad()
        loss.backward()
        if step < frozen:
            c.grad = None
        optimizer.step()
        losses.append(loss.item())
    left: dict[str, nn.Module | Tensor] = {
        "encoder": nn.Sequential(backbone, projector),
        "prototypes.weight": c.data,
    }
    return losses, left | ({"queue.queue": torch.stack([*map(torch.stack, past)])} if size else {})


PSEUDO_CODE = {
    "swav": Case(
        partial(make, partial(Prototypes, count=5), EmbeddingQueue),
        lambda method: algorithm_1(method, batches(), size=0, frozen=0),
    ),
    "swav_multi_crop": Case(
        make, lambda method: algorithm_1(method, crops(), size=12, frozen=1), crops
    ),
}
