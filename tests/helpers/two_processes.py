"""What each of two real processes does, and the collectives and draws that it is compared on."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from torch import Tensor, nn

from helpers.method_cases import cases
from helpers.steps import IMAGES, run_steps
from ssl_zoo import distributed
from ssl_zoo.modules import MemoryBank, ShuffleBN
from ssl_zoo.modules.targets import Target
from ssl_zoo.train import train
from ssl_zoo.types import Facts

# --- random draws -------------------------------------------------------------------------------


class Witness(Target):
    """Remembers the views that it is handed, and returns them."""

    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        self.seen = view
        return view


def shuffles() -> dict[str, Tensor]:
    """This process's part of the rows in two shuffled orders, and what comes back of them."""
    shuffle = ShuffleBN(nn.Identity(), Witness, seed=5)
    rows = torch.arange(IMAGES).chunk(distributed.world_size())[distributed.rank()]
    returned, seen = [], []
    for _ in range(2):
        returned.append(shuffle(rows, nn.Identity()))
        seen.append(shuffle.target.seen)  # type: ignore[union-attr]
    return {"returned": torch.stack(returned), "seen": torch.stack(seen)}


def bank_draws() -> Tensor:
    """The slots that this process draws for its images, in two steps: row i of the bank is i."""
    bank = MemoryBank(dim=2, facts=Facts(num_images=40), num_negatives=9, seed=5).double()
    angle = torch.arange(40, dtype=torch.float64) / 40
    index = (5 * torch.arange(IMAGES)).chunk(distributed.world_size())[distributed.rank()]
    query = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(len(index), 2)
    draws = []
    for _ in range(2):
        bank.bank.copy_(torch.stack([angle.cos(), angle.sin()], dim=1))
        similarity = bank.negatives(query, query, index)[1]
        draws.append((similarity.acos() * 40).round().long())
        bank.push(query, index)
        bank.update()
    return torch.stack(draws)


# --- collectives --------------------------------------------------------------------------------


def rows(rank: int, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + rank)
    return torch.randn(count, 2, generator=generator, dtype=torch.float64)


def collectives(rank: int) -> dict[str, Any]:
    x = rows(rank, 3).requires_grad_()
    gathered = distributed.all_gather(x)
    (gathered * rows(rank, 6, seed=10)).sum().backward()

    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    count = (3, 5)[rank]  # ranks need not sum up equally many terms
    mean = distributed.global_mean((w * rows(rank, count)).sum(), count)
    mean.backward()
    return {
        "rank": (distributed.rank(), distributed.world_size()),
        "gathered": gathered.detach(),
        "gather_gradient": x.grad,
        "index": distributed.all_gather(torch.tensor([rank, 7])),
        "uneven": distributed.gather_uneven(rows(rank, 1 + 2 * rank)),
        "one_empty": distributed.gather_uneven(torch.arange(2 * rank)),
        "mean": mean.item(),
        "mean_gradient": w.grad,
    }


# --- the processes ------------------------------------------------------------------------------


def worker(
    rank: int,
    folder: Path,
    port: int,
    steps: list[tuple[str, int]],
    configs: dict[str, dict[str, Any]],
) -> None:
    """What each of the two processes does; it leaves its findings in `folder`.

    `steps` are the cases to step through, each with its micro-batches a step; `configs` are runs.
    """
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(minutes=5),
    )
    results = collectives(rank)
    results["shuffles"], results["bank_draws"] = shuffles(), bank_draws()
    for case, accumulate in steps:
        make = cases("TWO_PROCESSES")[case]
        results[f"{case} {accumulate}"] = tuple(run_steps(case, make, accumulate))
    dist.destroy_process_group()
    # as a cluster starts the processes of a run
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= address | {"NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    results["metrics"] = {name: train(OmegaConf.create(cfg)) for name, cfg in configs.items()}
    torch.save(results, folder / f"{rank}.pt")
