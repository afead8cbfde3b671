"""Two real processes (gloo, started once for the file) against one, and the sampler's shards."""

from __future__ import annotations

import csv
import os
import socket
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_zoo import distributed
from ssl_zoo.config import CONFIG_DIR, register_resolvers
from ssl_zoo.data.samplers import EpochSampler, epoch_order
from ssl_zoo.losses import InfoNCE
from ssl_zoo.methods import SimCLR
from ssl_zoo.modules import MLP, InBatch
from ssl_zoo.types import MultiViewBatch, UserError
from train import train

STEPS, IMAGES = 4, 8
CONFIG = [  # nothing in it depends on the batch statistics of one process
    "dataset.splits.num_train=200",
    "dataset.splits.num_test=60",
    f"backbone._target_={__name__}.NormFree",
    "backbone.widths=[8,16]",
    "backbone.strides=[2,2]",
    "method.projector.hidden_norm=false",
    "method.embed_dim=16",
    "optimizer=sgd",
    "epochs=2",
    "batch_size=64",
    "precision=64-true",
    "log_every_n_steps=1",
    "name=test",
]


class NormFree(nn.Sequential):
    """Convolutions without batch norm, and the mean over positions."""

    def __init__(self, widths: list[int], strides: list[int]) -> None:
        layers: list[nn.Module] = []
        for a, b, stride in zip([3, *widths[:-1]], widths, strides, strict=True):
            layers += [nn.Conv2d(a, b, 3, stride, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.num_features = widths[-1]


class LossOf(nn.Module):
    """What DDP wraps: the loss of a method's step."""

    def __init__(self, method: SimCLR) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: MultiViewBatch) -> Tensor:
        return self.method.step(batch).loss


def make_method() -> SimCLR:
    torch.manual_seed(0)
    projector = partial(MLP, out_dim=5, hidden_norm=False)
    return SimCLR(NormFree([4, 6], [2, 1]), projector, InBatch, InfoNCE(0.2)).double()


def make_batch(step: int) -> MultiViewBatch:
    """The global batch; in odd steps some images are there twice, within and across the halves."""
    generator = torch.Generator().manual_seed(step)
    views = list(torch.randn(2, IMAGES, 3, 6, 6, generator=generator, dtype=torch.float64))
    index = torch.arange(IMAGES) if step % 2 == 0 else torch.tensor([0, 1, 1, 2, 3, 0, 5, 2])
    return MultiViewBatch(views, torch.full((IMAGES,), -1), index)


def part_of(batch: MultiViewBatch, rank: int, world_size: int) -> MultiViewBatch:
    views = [view.chunk(world_size)[rank] for view in batch.views]
    return MultiViewBatch(
        views, batch.label.chunk(world_size)[rank], batch.index.chunk(world_size)[rank]
    )


class Steps(NamedTuple):
    losses: list[float]
    gradients: list[list[Tensor]]
    weights: list[Tensor]


def run_steps(rank: int, world_size: int) -> Steps:
    model: nn.Module = LossOf(make_method())
    params = list(model.parameters())
    if world_size > 1:
        model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(params, lr=0.5, momentum=0.9)
    losses, gradients = [], []
    for step in range(STEPS):
        loss = model(part_of(make_batch(step), rank, world_size))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        gradients.append([p.grad.clone() for p in params if p.grad is not None])
    return Steps(losses, gradients, [p.detach() for p in params])


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


def worker(rank: int, folder: Path, port: int, config: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    results = collectives(rank) | {"steps": tuple(run_steps(rank, 2))}
    dist.destroy_process_group()
    # as a cluster starts the processes of a run
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= address | {"NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    results["metrics"] = train(OmegaConf.create(config))
    torch.save(results, folder / f"{rank}.pt")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Outcome(NamedTuple):
    ranks: list[dict[str, Any]]
    one: dict[str, float]
    folder: Path


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What each of two processes found, and the metrics of the same run in one."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ddp")
    register_resolvers()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        one = compose("train", [*CONFIG, f"run_dir={folder / 'one'}"])
        ddp = ["devices=2", "strategy=ddp", f"run_dir={folder / 'two'}"]
        two = OmegaConf.to_container(compose("train", [*CONFIG, *ddp]), resolve=True)
    processes = multiprocessing.spawn(
        worker, (folder, free_port(), two), nprocs=2, join=False, daemon=True
    )
    metrics = train(one)
    while not processes.join():
        pass
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return Outcome(ranks, metrics, folder)


# --- collectives --------------------------------------------------------------------------------


@pytest.mark.ddp
def test_all_gather(outcome: Outcome) -> None:
    whole = torch.cat([rows(0, 3), rows(1, 3)]).requires_grad_()
    sum((whole * rows(rank, 6, seed=10)).sum() for rank in range(2)).backward()
    assert whole.grad is not None
    for rank, found in enumerate(outcome.ranks):
        assert found["rank"] == (rank, 2)
        assert torch.equal(found["gathered"], whole.detach())
        assert found["index"].tolist() == [0, 7, 1, 7]
        torch.testing.assert_close(found["gather_gradient"], whole.grad.chunk(2)[rank])


@pytest.mark.ddp
def test_gather_uneven(outcome: Outcome) -> None:
    for found in outcome.ranks:
        assert torch.equal(found["uneven"], torch.cat([rows(0, 1), rows(1, 3)]))
        assert found["one_empty"].tolist() == [0, 1]


@pytest.mark.ddp
def test_global_mean(outcome: Outcome) -> None:
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    mean = (w * torch.cat([rows(0, 3), rows(1, 5)])).sum() / 8
    mean.backward()
    assert [found["mean"] for found in outcome.ranks] == pytest.approx([mean.item()] * 2)
    averaged = sum(found["mean_gradient"] for found in outcome.ranks) / 2  # as DDP does
    torch.testing.assert_close(averaged, w.grad)


def test_one_process_is_the_identity() -> None:
    x = rows(0, 3)
    assert distributed.all_gather(x) is x
    assert distributed.gather_uneven(x) is x
    assert distributed.global_mean(x.sum(), 3).item() == pytest.approx(x.sum().item() / 3)
    assert (distributed.rank(), distributed.world_size()) == (0, 1)


# --- SimCLR -------------------------------------------------------------------------------------


@pytest.mark.ddp
def test_two_halves_of_a_batch_equal_the_whole(outcome: Outcome) -> None:
    whole = run_steps(0, 1)
    for found in outcome.ranks:
        half = Steps(*found["steps"])
        assert half.losses == pytest.approx(whole.losses, abs=1e-9)
        for step in range(STEPS):
            for ours, theirs in zip(half.gradients[step], whole.gradients[step], strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
        for ours, theirs in zip(half.weights, whole.weights, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    assert all(g.abs().max() > 1e-4 for g in whole.gradients[0][::2])


def column(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


def saved_weights(folder: Path) -> dict[str, Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return dict(checkpoint["state_dict"])


@pytest.mark.ddp
def test_a_run_of_two_processes_equals_a_run_of_one(outcome: Outcome) -> None:
    one, two = outcome.folder / "one", outcome.folder / "two"
    losses = column(one, "train/loss")
    assert len(losses) == 2 * (180 // 64)
    assert len(set(losses)) == len(losses)
    assert column(two, "train/loss") == pytest.approx(losses, abs=1e-9)
    ours, theirs = saved_weights(two), saved_weights(one)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-9, rtol=0)


@pytest.mark.ddp
def test_monitors_see_the_features_of_both_processes(outcome: Outcome) -> None:
    one, two = outcome.folder / "one", outcome.folder / "two"
    for name in ("val/knn_top1", "val/probe_top1"):
        assert len(column(one, name)) == 2
        assert column(two, name) == column(one, name)
        assert [found["metrics"][name] for found in outcome.ranks] == [outcome.one[name]] * 2
    files = [{p.relative_to(f) for p in f.rglob("*") if p.is_file()} for f in (one, two)]
    assert files[0] == files[1]


# --- the order ----------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_shards_make_up_the_global_batch(accumulate: int, world_size: int) -> None:
    ranks = [
        EpochSampler(50, 16, accumulate, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for sampler in ranks:
        sampler.set_epoch(2)
        assert sampler.num_batches == 3 * accumulate
    shards = [sampler.pending() for sampler in ranks]
    assert all(len(b) == 16 // accumulate // world_size for shard in shards for b in shard)
    micro = [torch.cat(parts) for parts in zip(*shards, strict=True)]
    assert len(micro) == 3 * accumulate
    # whatever the sharding, one order: three batches of 16, and two images left out
    assert torch.equal(torch.cat(micro), epoch_order(50, 3, 2)[:48])


def test_epochs_differ_and_repeat() -> None:
    orders = [epoch_order(50, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert epoch_order(50, 0, 1).tolist() == orders[1]


def test_sampler_goes_on_in_mid_epoch() -> None:
    sampler, resumed = EpochSampler(50, 8, seed=1), EpochSampler(50, 8, seed=1)
    sampler.set_epoch(3)
    whole = sampler.pending()
    sampler.position = 4
    resumed.load_state_dict(sampler.state_dict())
    resumed.set_epoch(3)  # the current epoch: stays in its middle
    rest = resumed.pending()
    assert len(rest) == 2
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[4:], strict=True))
    resumed.set_epoch(4)
    assert (resumed.epoch, resumed.position, len(resumed.pending())) == (4, 0, 6)


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "world_size", "message"),
    [
        (10, 2, 2, r"batch_size=10 .* = 4: use 8 or 12$"),
        (15, 1, 2, r"batch_size=15 .* = 2: use 14 or 16$"),
        (3, 2, 2, r"batch_size=3 .* = 4: use 4$"),
        (64, 1, 1, r"batch_size=64 is more than the 50 training images"),
    ],
)
def test_bad_batches(batch_size: int, accumulate: int, world_size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EpochSampler(50, batch_size, accumulate, world_size=world_size)
