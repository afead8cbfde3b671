"""LeJEPA against the loop of MINIMAL.md, written out in plain PyTorch; W-MSE is the same passes."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from helpers.pseudo_code import LR, Case, Net, Trained, batches, crops, descend
from helpers.steps import HEAD, Normed, net
from ssl_zoo.losses import SIGReg, StatisticLoss, WhitenedMSE
from ssl_zoo.methods import LeJEPA, Method
from ssl_zoo.modules import MLP
from ssl_zoo.types import MultiViewBatch, UserError

pytestmark = pytest.mark.usefixtures("double")


def test_any_number_of_views_but_one() -> None:
    method = make(SIGReg(num_slices=8))
    assert [method.takes_views(n) for n in (1, 2, 4)] == [False, True, True]
    batch = batches()[0]
    four = MultiViewBatch([*batch.views, *batch.views], batch.label, batch.index)
    output = method.step(four)
    assert output.representation.shape == (8, 5)
    assert output.embedding.shape == (8, 4)


def test_small_views_have_no_part_in_the_centre_and_one_pass() -> None:
    method = make(SIGReg(sigreg_weight=0, num_slices=8), Normed())
    passes: list[tuple[int, ...]] = []
    method.encoder.register_forward_pre_hook(lambda _, args: passes.append(tuple(args[0].shape)))
    embeddings = method.embed(crops()[0].views)
    assert passes == [(16, 3, 6, 6), (16, 3, 4, 4)]
    z = torch.stack(embeddings.online)
    assert list(embeddings.target) == [0, 1]
    loss = method.objective(embeddings, torch.arange(8), torch.arange(8)).loss
    torch.testing.assert_close(loss, (z - z[:2].mean(dim=0)).square().mean())


def test_a_loss_of_views_of_one_size() -> None:
    w_mse = make(WhitenedMSE(8, eps=0.1), Normed())
    assert not w_mse.takes_sizes
    with pytest.raises(UserError, match="WhitenedMSE takes views of one size, not multi-crop's"):
        w_mse.step(crops()[0])


def test_embeddings_at_the_origin_get_no_gradient() -> None:
    """Why the projector has batch norm."""
    z = torch.zeros(2, 8, 4).requires_grad_()
    SIGReg(num_slices=8)(z).backward()
    assert z.grad is not None
    assert z.grad.abs().max() == 0


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two(loss: type[StatisticLoss], **settings: int) -> Method:
    return LeJEPA(net(), HEAD, loss(**settings))


TWO_PROCESSES = {
    "lejepa": partial(on_two, SIGReg, num_slices=6),
    "lejepa_multi_crop": partial(on_two, SIGReg, num_slices=6),
    "w_mse": partial(on_two, WhitenedMSE, whitening_size=4, repeats=2, eps=0.5),
}
RESUMES = {
    "lejepa": ["method=lejepa", "method.hidden_dim=16", "method.embed_dim=16"],
    "lejepa_multi_crop": [
        *("method=lejepa", "method.hidden_dim=16", "method.embed_dim=16"),
        *("augmentation=multi_crop", "augmentation.small.count=2"),
    ],
    "w_mse": [
        *("method=lejepa", "method/loss=whitened_mse", "method.hidden_dim=16"),
        *("method.embed_dim=8", "method.loss.whitening_size=32"),
    ],
}


def make(loss: StatisticLoss, backbone: nn.Module | None = None) -> Method:
    return LeJEPA(backbone or Net(), partial(MLP, out_dim=4, hidden_dim=6, num_layers=3), loss)


def minimal(method: Method) -> Trained:
    net = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    drawn = copy.deepcopy(method.loss)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9)
    losses = []
    for views, *_ in batches():
        proj = net(torch.cat(views)).unflatten(0, (2, -1))  # (V, N, K)
        inv_loss = (proj.mean(0) - proj).square().mean()
        sigreg = sliced_test(proj, drawn.draw_slices(4, torch.device("cpu")))
        loss = sigreg * 0.02 + inv_loss * (1 - 0.02)
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": net}


def readme(method: Method) -> Trained:
    """The README's loss: two large views, whose mean is the centre, and two small ones."""
    backbone, projector = copy.deepcopy([method.encoder.backbone, method.encoder.projector])
    drawn = copy.deepcopy(method.loss)
    net = nn.Sequential(backbone, projector)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9)
    losses = []
    for views, *_ in crops():
        each = [net(torch.cat(views[:2])), net(torch.cat(views[2:]))]
        proj = torch.cat(each).unflatten(0, (4, -1))
        inv_loss = torch.stack([(z - (proj[0] + proj[1]) / 2).square().mean() for z in proj]).mean()
        sigreg = sliced_test(proj, drawn.draw_slices(4, torch.device("cpu")))
        loss = sigreg * 0.02 + inv_loss * (1 - 0.02)
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": net}


def sliced_test(proj: Tensor, slices: Tensor) -> Tensor:
    """Written with complex numbers and a trapezium rule of torch's."""
    t = torch.linspace(0, 3, 17)
    phi = (1j * (proj @ slices)[..., None] * t).exp().mean(dim=1)  # (V, S, points)
    distance = (phi - (-t.square() / 2).exp()).abs().square() * (-t.square() / 2).exp()
    return (2 * torch.trapezoid(distance, t) * proj.shape[1]).mean()


def whitened(method: Method) -> Trained:
    net = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    drawn = copy.deepcopy(method.loss)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9)
    losses = []
    for views, *_ in batches():
        h = net(torch.cat(views)).chunk(2)
        loss = torch.zeros(())
        for _ in range(2):
            for part in drawn.draw_order(len(h[0]), torch.device("cpu")).chunk(2):
                a, b = (unit_white(x[part]) for x in h)
                loss = loss + (a - b).square().sum(dim=1).mean() / 4
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": net}


def unit_white(x: Tensor) -> Tensor:
    x = x - x.mean(dim=0)
    shrunk = 0.9 * torch.cov(x.T) + 0.1 * torch.eye(x.shape[1])
    z = x @ torch.linalg.inv(torch.linalg.cholesky(shrunk)).T
    return z / z.norm(dim=1, keepdim=True)


PSEUDO_CODE = {
    "lejepa": Case(lambda: make(SIGReg(sigreg_weight=0.02, num_slices=8)), minimal),
    "lejepa_multi_crop": Case(
        lambda: make(SIGReg(sigreg_weight=0.02, num_slices=8), Normed()), readme, crops
    ),
    "w_mse": Case(lambda: make(WhitenedMSE(4, repeats=2, eps=0.1)), whitened),
}
