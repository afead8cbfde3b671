"""NNCLR against solo-learn's values and the paper's algorithm 1; there is no official code."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.configs import Make
from helpers.golden import assert_golden, golden, tensor, wrong_forms, wrong_value
from helpers.pseudo_code import BATCH, LR, Case, Net, Trained, batches, descend, unit
from helpers.steps import HEAD, PREDICTOR, TRAIN_IMAGES, net
from ssl_zoo.losses import InfoNCE, NormalizedMSE
from ssl_zoo.methods import NNCLR, Method
from ssl_zoo.modules import MLP, Identity, InBatch, MemoryBank, Queue, SupportSet
from ssl_zoo.train import train
from ssl_zoo.types import Embeddings, Facts, UserError

pytestmark = pytest.mark.usefixtures("double")

STEPS_OF = ["nnclr/4_steps_b4_q12", "nnclr/3_steps_b2_q4_t0.2", "nnclr/3_steps_b8_q16_constant_dim"]


class Rows(nn.Linear):
    """A backbone that is one linear layer over rows."""

    @property
    def num_features(self) -> int:
        return self.out_features


def bare(queue: Tensor, temperature: float) -> NNCLR:
    """Without networks of interest: what acts on given embeddings and predictions."""
    size, dim = queue.shape
    support_set = partial(SupportSet, size=size)
    method = NNCLR(Rows(dim, dim), Identity, Identity, support_set, InfoNCE(temperature))
    method.support_set.queue.copy_(queue)
    return method


def of_entry(name: str) -> NNCLR:
    entry = golden(name)
    return bare(tensor(entry["inputs"]["queue"]), entry["settings"]["temperature"])


def given(name: str, step: int) -> list[Tensor]:
    """z1, z2, p1, p2 of a step."""
    z1, z2, p1, p2 = (tensor(golden(name)["inputs"][x][step]) for x in ("z1", "z2", "p1", "p2"))
    return [z1, z2, p1.requires_grad_(), p2.requires_grad_()]


def objective(method: NNCLR, z1: Tensor, z2: Tensor, p1: Tensor, p2: Tensor) -> Tensor:
    index = torch.arange(len(z1))
    return method.objective(Embeddings(z1, [z1, z2], {}, [p1, p2]), index, index).loss


@pytest.mark.parametrize(
    "name", [STEPS_OF[1], *(pytest.param(name, marks=pytest.mark.slow) for name in STEPS_OF[::2])]
)
def test_every_step_is_solo_learns(name: str) -> None:
    """Neighbours in the old queue, the loss and its gradients, and the queue after the push."""
    method, expected = of_entry(name), golden(name)["expected"]
    found = method.support_set
    for k in range(len(golden(name)["inputs"]["z1"])):
        z1, z2, p1, p2 = given(name, k)
        for z, neighbours in ((z1, f"{k}.nn_index1"), (z2, f"{k}.nn_index2")):
            assert torch.equal(found.nearest(z), found.queue[expected[neighbours]])
        loss = objective(method, z1, z2, p1, p2)
        loss.backward()
        method.update(progress=0.0)
        assert_golden(loss, expected[f"{k}.loss"])
        assert_golden(p1.grad, expected[f"{k}.grad_p1"])
        assert_golden(p2.grad, expected[f"{k}.grad_p2"])
        assert_golden(found.queue, expected[f"{k}.queue"])
        assert found.pointer.item() == expected[f"{k}.pointer"]


@pytest.mark.slow
def test_neighbours_have_no_gradient() -> None:
    z1, z2, p1, p2 = given(STEPS_OF[0], 0)
    z1.requires_grad_()
    objective(of_entry(STEPS_OF[0]), z1, z2, p1, p2).backward()
    assert z1.grad is None


# --- wrong forms: each is what a change of one line would compute ---------------------------------


def one_way(rows: Tensor, columns: Tensor, temperature: float) -> Tensor:
    logits = unit(rows) @ unit(columns).T / temperature
    return nn.functional.cross_entropy(logits, torch.arange(len(rows)))


def form_of(entry: str, form: str) -> float:
    z1, z2, p1, p2 = given(entry, 0)
    queue = tensor(golden(entry)["inputs"]["queue"])
    tau = golden(entry)["settings"]["temperature"]
    if form == "pushed_before_look_up":
        queue = torch.cat([unit(z1), queue[len(z1) :]])
    nn1, nn2 = (queue[(unit(z) @ queue.T).argmax(dim=1)] for z in (z1, z2))
    if form == "positive_is_z_itself":
        nn1, nn2 = z1, z2
    both = one_way(nn1, p2, tau) + one_way(nn2, p1, tau)
    if form == "columns_are_nn":
        both = one_way(p2, nn1, tau) + one_way(p1, nn2, tau)
    return (both if form == "summed" else both / 2).item()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), wrong_forms("nnclr"))
def test_a_wrong_form_is_another_number(name: str, form: str) -> None:
    """The form, written out, gives the number that is known of it; ours does not."""
    entry, known = name.removesuffix(" step 0"), wrong_value(name, form)
    assert form_of(entry, form) == pytest.approx(known, rel=1e-8)
    ours = objective(of_entry(entry), *given(entry, 0)).item()
    assert ours != pytest.approx(known, rel=1e-6)


@pytest.mark.slow
def test_nt_xent_over_neighbours_and_predictions() -> None:
    """Lightly's form: neighbours repel neighbours and predictions predictions."""
    entry = golden("nnclr/wrong_form_ntxent")
    neighbours, p = (unit(tensor(entry["inputs"][x])) for x in ("nn", "p"))
    tau, n = entry["settings"]["temperature"], len(p)
    both = torch.cat([neighbours, p])
    logits = (both @ both.T / tau).fill_diagonal_(-torch.inf)
    partners = torch.arange(2 * n).roll(n)
    assert_golden(nn.functional.cross_entropy(logits, partners), entry["expected"]["loss"])
    method = bare(neighbours, tau)  # each row is its own neighbour
    ours = objective(method, neighbours, neighbours, p.clone(), p.clone())
    assert_golden(ours, entry["expected"]["right"])


@pytest.mark.slow
def test_lightlys_bank_loses_rows_that_ours_keeps() -> None:
    """It stores rows as they come, and drops what does not fit before its end."""
    entry = golden("nnclr/wrong_form_lightly_bank_b4_q6")
    bank, pointer = tensor(entry["inputs"]["bank"]), 0
    ours = bare(bank, 0.1).support_set
    for k, rows in enumerate(map(tensor, entry["inputs"]["z"])):
        kept = rows[: len(bank) - pointer]
        bank[pointer : pointer + len(kept)] = kept
        pointer = (pointer + len(rows)) if pointer + len(rows) < len(bank) else 0
        assert_golden(bank, entry["expected"][f"{k}.bank"])
        assert pointer == entry["expected"][f"{k}.pointer"]
        ours.push(rows, torch.arange(len(rows)))
        ours.update()
        stored = (ours.queue[:, None] - unit(rows)[None]).norm(dim=2).min(dim=0).values
        assert stored.max() < 1e-12  # each row of the batch, of unit length
    assert ours.pointer.item() == 12 % 6


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("part", [Queue, InBatch, MemoryBank])
def test_another_dictionary_is_refused(part: Any) -> None:
    line = rf"^NNCLR takes a support set, not {part.__name__}: choose SupportSet$"
    with pytest.raises(UserError, match=line):
        NNCLR(net(), HEAD, PREDICTOR, part, InfoNCE(), facts=Facts(num_images=9))


@pytest.mark.slow
def test_a_predictive_loss_is_refused() -> None:
    with pytest.raises(UserError, match=r"^NNCLR takes a contrastive loss, not NormalizedMSE"):
        NNCLR(net(), HEAD, PREDICTOR, SupportSet, NormalizedMSE())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("method.queue_size=0", r"queue_size=0: must be a whole number of at least 1$"),
        ("method.queue_size=1.5", r"queue_size=1\.5: give a whole number$"),
        ("method.support_set._target_=ssl_zoo.modules.Queue", "support set, not Queue"),
        ("augmentation.num_views=3", "num_views=3, but NNCLR takes 2"),
        ("method.temperature=0", r"temperature=0: must be above 0$"),
    ],
)
def test_what_a_command_line_cannot_ask_for(make_config: Make, override: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        train(make_config("method=nnclr", override))
    assert "\n" not in str(error.value)


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two() -> Method:
    support_set = partial(SupportSet, size=20)  # no multiple of a step's 8 rows
    facts = Facts(num_images=TRAIN_IMAGES)
    return NNCLR(net(), HEAD, PREDICTOR, support_set, InfoNCE(0.2), facts=facts)


TWO_PROCESSES = {"nnclr": on_two}
NARROW = [f"method.{width}=16" for width in ("hidden_dim", "predictor_dim")]
RUNS_OF_TWO = {
    "nnclr": [
        *("method=nnclr", *NARROW, "method.queue_size=100", "method.projector.hidden_norm=false"),
        *("method.projector.out_norm=none", "method.predictor.hidden_norm=false"),
        "callbacks=none",
    ]
}
RESUMES = {
    "nnclr": [
        *("method=nnclr", *NARROW, "method.embed_dim=16", "method.queue_size=100", "accumulate=2")
    ]
}

SIZE, TEMPERATURE = 20, 0.2


def make() -> Method:
    projector = partial(MLP, out_dim=4, hidden_dim=6, num_layers=3, out_norm="affine")
    support_set = partial(SupportSet, size=SIZE)
    predictor = partial(MLP, hidden_dim=6)
    return NNCLR(Net(), projector, predictor, support_set, InfoNCE(TEMPERATURE))


def algorithm_1(method: Method) -> Trained:
    f = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    h = copy.deepcopy(method.predictor)
    queue = list(method.support_set.queue.clone())  # oldest first
    optimizer = torch.optim.SGD([*f.parameters(), *h.parameters()], lr=LR, momentum=0.9)
    losses = []

    def neighbour(z: Tensor) -> Tensor:
        return max(queue, key=lambda row: float(row @ z.detach()))

    for batch in batches():
        x1, x2 = batch.views
        z1, z2 = f(x1), f(x2)
        p1, p2 = unit(h(z1)), unit(h(z2))
        loss = torch.zeros(())
        for z, p in ((z1, p2), (z2, p1)):
            for i in range(BATCH):
                logits = torch.stack([neighbour(z[i]) @ one for one in p]) / TEMPERATURE
                loss = loss - (logits[i] - logits.exp().sum().log()) / BATCH / 2
        queue = [*queue, *unit(z1.detach())][-SIZE:]
        descend(optimizer, loss)
        losses.append(loss.item())
    ring = torch.stack(queue).roll(len(losses) * BATCH % SIZE, dims=0)
    return losses, {"encoder": f, "predictor": h, "support_set.queue": ring}


PSEUDO_CODE = {"nnclr": Case(make, algorithm_1)}
