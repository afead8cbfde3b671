"""Our losses on the inputs that the official codes were given, on one process or on two."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize

from helpers.golden import golden, tensor
from ssl_zoo.losses import CrossCorrelation, InfoNCE, SIGReg, VarianceInvarianceCovariance
from ssl_zoo.methods import MoCoV3
from ssl_zoo.modules import Identity, InBatch, Momentum, Sinkhorn
from ssl_zoo.types import Embeddings

# --- parts --------------------------------------------------------------------------------------


class Given(SIGReg):
    """With the slices that the official code drew."""

    slices: Tensor

    def draw_slices(self, dim: int, device: torch.device) -> Tensor:
        self.calls += 1
        return self.slices


def given(slices: object, **settings: object) -> Given:
    loss = Given(**settings)  # type: ignore[arg-type]
    loss.slices = tensor(slices)
    return loss


class Flat(nn.Linear):
    """A backbone that is one linear layer over rows."""

    @property
    def num_features(self) -> int:
        return self.out_features


TWO_TAU = partial(InfoNCE, base_temperature=0.5)


def bare(temperature: float, **shared: Any) -> MoCoV3:
    """Without networks of interest: what acts on given queries and keys."""
    return MoCoV3(Flat(3, 3), Identity, Identity, Momentum, InBatch, TWO_TAU(temperature), **shared)


# --- two_processes/*: images x1 and x2, embedded by x W ------------------------------------------


def _mocov3(x1: Tensor, x2: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    online = [x1 @ weight, x2 @ weight]
    keys = {view: x @ (0.9 * weight.detach()) for view, x in enumerate((x1, x2))}
    method = bare(golden("mocov3/b8_d4_t0.2")["settings"]["T"])
    return method.objective(Embeddings(x1, online, keys, online), index, index).loss


def _statistic(
    make: Callable[[], nn.Module], x1: Tensor, x2: Tensor, weight: Tensor, index: Tensor
) -> Tensor:
    loss: Tensor = make()(torch.stack([x1 @ weight, x2 @ weight]))
    return loss


def _lejepa(weight: float) -> nn.Module:
    return given(golden("two_processes/lejepa")["inputs"]["A"], sigreg_weight=weight)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "barlow": partial(_statistic, CrossCorrelation),
    "vicreg": partial(_statistic, VarianceInvarianceCovariance),
    "lejepa": partial(_statistic, partial(_lejepa, 0.05)),
    "lejepa_sigreg": partial(_statistic, partial(_lejepa, 1.0)),
    "mocov3": _mocov3,
}


def loss_and_gradient(name: str, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
    """The loss of a rank's rows, and its gradient by W."""
    inputs = golden(f"two_processes/{name.removesuffix('_sigreg')}")["inputs"]
    weight = tensor(inputs["W"]).requires_grad_()
    rows = (tensor(inputs["x1"]), tensor(inputs["x2"]), torch.arange(len(inputs["x1"])))
    x1, x2, index = (values.chunk(world)[rank] for values in rows)
    loss = LOSSES[name](x1, x2, weight, index)
    loss.backward()
    assert weight.grad is not None
    return loss.detach(), weight.grad


def codes(rank: int = 0, world: int = 1) -> Tensor:
    """SwAV's, of a rank's rows."""
    inputs = golden("two_processes/swav")["inputs"]
    prototypes = normalize(tensor(inputs["prototypes_before_normalising"]), dim=1)
    z = normalize(tensor(inputs["x1"]) @ tensor(inputs["W"]), dim=1).chunk(world)[rank]
    found: Tensor = Sinkhorn()(z @ prototypes.T)
    return found


def worker(rank: int, folder: Path) -> None:
    """What each of two processes finds."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    store, limit = f"file://{folder / 'store'}", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=limit)
    results: dict[str, Any] = {name: loss_and_gradient(name, rank, 2) for name in LOSSES}
    results["swav"] = codes(rank, 2)
    dist.destroy_process_group()
    torch.save(results, folder / f"{rank}.pt")
