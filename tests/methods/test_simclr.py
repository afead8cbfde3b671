"""SimCLR against the paper's algorithm 1, written out in plain PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.pseudo_code import (
    BATCH,
    LR,
    Case,
    Net,
    Trained,
    batches,
    crops,
    descend,
    plain,
    unit,
)
from helpers.steps import HEAD, INFO_NCE, SUBSAMPLED, Normed, net
from ssl_zoo.backbones import ConvNet
from ssl_zoo.losses import InfoNCE
from ssl_zoo.methods import Method, SimCLR
from ssl_zoo.modules import MLP, Identity, InBatch, Linear
from ssl_zoo.types import MultiViewBatch

TEMPERATURE = 0.3


class NoNorm(nn.Sequential):
    """A convolution and the mean over positions."""

    num_features = 6

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


def make_method(norm: bool = True, dtype: torch.dtype = torch.float64) -> SimCLR:
    torch.manual_seed(0)
    backbone = ConvNet(widths=(4, 6), strides=(2, 1)) if norm else NoNorm()
    projector = partial(MLP, out_dim=5, hidden_norm=norm)
    return SimCLR(backbone, projector, InBatch, InfoNCE(TEMPERATURE)).to(dtype)


def make_batch(step: int = 0, n: int = 6, dtype: torch.dtype = torch.float64) -> MultiViewBatch:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(n, 3, 8, 8, generator=generator, dtype=dtype)
    views = [images + 0.5 * torch.randn(images.shape, generator=generator) for _ in range(2)]
    index = torch.randperm(100, generator=generator)[:n]
    return MultiViewBatch(views, torch.full((n,), -1), index)


def reference_normed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    dims = [0, *range(2, x.ndim)]
    shape = [1, -1] + [1] * (x.ndim - 2)
    average = x.mean(dim=dims, keepdim=True)
    variance = ((x - average) ** 2).mean(dim=dims, keepdim=True)
    return (x - average) / (variance + 1e-5).sqrt() * weight.view(shape) + bias.view(shape)


def reference_forward(x: Tensor, w: list[Tensor], norm: bool) -> tuple[Tensor, Tensor]:
    """The representation and the embedding, from the parameters in order."""
    w = list(w)
    for stride in (2, 1) if norm else (2,):
        x = functional.conv2d(x, w.pop(0), stride=stride, padding=1)
        x = reference_normed(x, w.pop(0), w.pop(0)).relu() if norm else x.relu()
    h = x.mean(dim=(2, 3))
    hidden = h @ w.pop(0).T
    hidden = reference_normed(hidden, w.pop(0), w.pop(0)) if norm else hidden + w.pop(0)
    z = hidden.relu() @ w.pop(0).T + w.pop(0)
    assert w == []
    return h, z


def reference_loss(views: list[Tensor], w: list[Tensor], norm: bool) -> Tensor:
    """Algorithm 1: z_{2k-1} and z_{2k} are the views of image k, l(i, j) the loss of a pair."""
    n = len(views[0])
    interleaved = torch.stack(views, dim=1).flatten(0, 1)
    _, z = reference_forward(interleaved, w, norm)

    def similarity(i: int, j: int) -> Tensor:
        return z[i] @ z[j] / (z[i].norm() * z[j].norm())

    def pair(i: int, j: int) -> Tensor:
        terms = [
            (similarity(i, k) / TEMPERATURE).exp() if k != i else torch.zeros(()).double()
            for k in range(2 * n)
        ]
        return -((similarity(i, j) / TEMPERATURE).exp() / sum(terms)).log()

    terms = [pair(2 * k, 2 * k + 1) + pair(2 * k + 1, 2 * k) for k in range(n)]
    total: Tensor = sum(terms[1:], terms[0])
    return total / (2 * n)


@pytest.mark.parametrize("norm", [False, True])
def test_five_steps_equal_algorithm_1(norm: bool) -> None:
    method = make_method(norm)
    weights = [p.detach().clone().requires_grad_() for p in method.parameters()]
    velocity = [torch.zeros_like(p) for p in weights]
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5, momentum=0.9)
    for step in range(5):
        batch = make_batch(step)
        loss = method.step(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        expected = reference_loss(batch.views, weights, norm)
        grads = torch.autograd.grad(expected, weights)
        for w, v, g in zip(weights, velocity, grads, strict=True):
            v.mul_(0.9).add_(g)
            w.data.sub_(0.5 * v)

        assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
        for (name, ours), theirs in zip(method.named_parameters(), weights, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0, msg=f"{step} {name}")
    moved = [
        p - q for p, q in zip(method.parameters(), make_method(norm).parameters(), strict=True)
    ]
    assert all(change.abs().max() > 1e-3 for change in moved)


def test_outputs_are_of_the_first_view() -> None:
    method, batch = make_method(), make_batch()
    weights = list(method.parameters())
    output = method.step(batch)
    h, z = reference_forward(torch.cat(batch.views), weights, norm=True)
    torch.testing.assert_close(output.representation, h[:6].detach())
    torch.testing.assert_close(output.embedding, z[:6].detach())
    assert output.representation.shape == (6, method.num_features) == (6, 6)
    assert output.embedding.shape == (6, 5)
    assert output.loss.shape == ()
    detached = [output.representation, output.embedding, *output.metrics.values()]
    assert not any(x.requires_grad for x in detached)
    assert output.loss.requires_grad


def test_contrastive_top1_equals_loop() -> None:
    method, batch = make_method(), make_batch()
    _, z = reference_forward(torch.cat(batch.views), list(method.parameters()), norm=True)
    cosine = functional.cosine_similarity(z[:, None], z[None], dim=2)
    hits = [
        all(cosine[i, (i + 6) % 12] >= cosine[i, k] for k in range(12) if k != i) for i in range(12)
    ]
    assert 0 < sum(hits) < 12
    metrics = method.step(batch).metrics
    assert metrics["contrastive_top1"].item() == pytest.approx(sum(hits) / 12)


def test_forward_is_the_representation() -> None:
    method, batch = make_method(norm=False), make_batch()
    h, _ = reference_forward(batch.views[0], list(method.parameters()), norm=False)
    torch.testing.assert_close(method(batch.views[0]), h)


def test_bare_loop_learns() -> None:
    method = make_method(dtype=torch.float32)
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    batch = make_batch(dtype=torch.float32)
    losses = []
    for _ in range(30):
        loss = method.step(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_every_parameter_gets_a_gradient() -> None:
    method = make_method()
    method.step(make_batch()).loss.backward()
    grads = {name: p.grad for name, p in method.named_parameters()}
    assert len(grads) == 11
    assert [name for name, g in grads.items() if g is None or not g.any()] == []
    groups = method.param_groups()
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in method.parameters()]


def test_batch_norm_sees_both_views_at_once() -> None:
    method, batch = make_method(), make_batch()
    method.step(batch)
    backbone = method.encoder.backbone
    first = backbone.layers[0](torch.cat(batch.views))
    # running mean: a tenth of the way from 0 to the mean over both views
    expected = 0.1 * first.mean(dim=(0, 2, 3))
    torch.testing.assert_close(backbone.layers[1].running_mean, expected.detach())
    assert backbone.layers[1].num_batches_tracked == 1


def test_repeated_image_is_not_its_own_negative() -> None:
    method, batch = make_method(norm=False), make_batch()
    index = torch.tensor([4, 9, 4, 1, 0, 9])
    _, z = reference_forward(torch.cat(batch.views), list(method.parameters()), norm=False)
    z, image = functional.normalize(z, dim=1), index.repeat(2)
    losses = []
    for i in range(12):
        positive = (z[i] @ z[(i + 6) % 12] / TEMPERATURE).exp()
        negatives = [(z[i] @ z[k] / TEMPERATURE).exp() for k in range(12) if image[k] != image[i]]
        losses.append(-(positive / (positive + sum(negatives))).log())
    expected = torch.stack(losses).mean()
    repeated = method.step(batch._replace(index=index)).loss
    torch.testing.assert_close(repeated, expected, atol=1e-10, rtol=0)
    assert repeated.item() != pytest.approx(method.step(batch).loss.item(), abs=1e-3)


def test_one_image_repeated_has_no_negatives() -> None:
    method, batch = make_method(), make_batch()
    loss = method.step(batch._replace(index=torch.zeros(6, dtype=torch.int64))).loss
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_without_projector_the_embedding_is_the_representation() -> None:
    method = SimCLR(NoNorm(), Identity, InBatch, InfoNCE(TEMPERATURE)).double()
    output = method.step(make_batch())
    assert torch.equal(output.embedding, output.representation)


def test_similarities_are_float32_under_autocast() -> None:
    torch.manual_seed(0)
    z, other = torch.randn(64, 128).bfloat16(), torch.randn(64, 128).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pos, neg = InBatch().negatives(z, other, torch.arange(64))
    a, b = (functional.normalize(x.double(), dim=1) for x in (z, other))
    off_diagonal = ~torch.eye(64, dtype=torch.bool)
    assert neg.dtype == torch.float32
    torch.testing.assert_close(
        neg.double()[off_diagonal], (a @ b.T)[off_diagonal], atol=1e-6, rtol=0
    )
    torch.testing.assert_close(pos.double(), (a * b).sum(dim=1), atol=1e-6, rtol=0)


# --- negatives of the other view only -----------------------------------------------------------


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two(loss: Callable[[], nn.Module] = INFO_NCE) -> Method:
    return SimCLR(net(), HEAD, InBatch, loss())


TWO_PROCESSES = {
    "simclr": on_two,
    "simclr_subsampled": partial(on_two, SUBSAMPLED),
    "simclr_dclw": partial(on_two, partial(InfoNCE, 0.2, decoupled=True, sigma=0.5)),
    "simclr_multi_crop": on_two,
}
RUNS_OF_TWO = {"simclr": ["method.projector.hidden_norm=false"]}
RESUMES = {
    "simclr": ["method=simclr", "method/loss=nt_logistic", "method.loss.mode=subsample"],
    "simclr_multi_crop": ["method=simclr", "augmentation=multi_crop", "augmentation.small.count=2"],
}


def repelled_by_the_other_view(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """NT-Xent whose denominators hold the N embeddings of the other view alone."""
    total = torch.zeros(())
    for i in range(BATCH):
        for u, others in ((z1[i], z2), (z2[i], z1)):
            terms = [(u @ v / temperature).exp() for v in others]
            total = total - (terms[i] / torch.stack(terms).sum()).log()
    return total / (2 * BATCH)


def one_view(method: Method) -> Trained:
    f = plain(method)
    optimizer = torch.optim.SGD(f.parameters(), lr=LR, momentum=0.9)
    losses = []
    for batch in batches():
        z1, z2 = unit(f(torch.cat(batch.views))).chunk(2)  # both views share batch statistics
        loss = repelled_by_the_other_view(z1, z2, TEMPERATURE)
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": f}


def of_one_view() -> Method:
    projector, loss = partial(Linear, out_dim=4), InfoNCE(TEMPERATURE)
    return SimCLR(Net(), projector, InBatch, loss, same_view_negatives=False)


def nt_xent(views: list[Tensor]) -> Tensor:
    """Algorithm 1's loss of two views' unit embeddings."""
    z = torch.cat(views)
    terms = (z @ z.T / TEMPERATURE).exp()
    loss = torch.zeros(())
    for i in range(2 * BATCH):
        others = [k for k in range(2 * BATCH) if k != i]
        loss = loss - (terms[i, (i + BATCH) % (2 * BATCH)] / terms[i, others].sum()).log()
    return loss / (2 * BATCH)


def large_with_all(method: Method) -> Trained:
    """Each large view with each view after it: five pairs of two large and two small ones."""
    f = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    optimizer = torch.optim.SGD(f.parameters(), lr=LR, momentum=0.9)
    losses = []
    for views, *_ in crops():
        z = [unit(x) for half in (views[:2], views[2:]) for x in f(torch.cat(half)).chunk(2)]
        pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]
        loss = torch.stack([nt_xent([z[i], z[j]]) for i, j in pairs]).mean()
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": f}


def of_crops() -> Method:
    return SimCLR(Normed(), partial(Linear, out_dim=4), InBatch, InfoNCE(TEMPERATURE))


# Algorithm 1 itself is compared above, step by step.
PSEUDO_CODE = {
    "simclr_of_one_view": Case(of_one_view, one_view),
    "simclr_multi_crop": Case(of_crops, large_with_all, crops),
}
