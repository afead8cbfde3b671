"""Two real processes (gloo, started once for the file) against one.

The methods, and what each needs in a complete run, are stated in their own test files.
"""

from __future__ import annotations

import csv
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, multiprocessing

from helpers.method_cases import cases
from helpers.steps import IMAGES, STEPS, Steps, run_steps
from helpers.tiers import only
from helpers.two_processes import bank_draws, rows, shuffles, worker
from ssl_zoo import distributed
from ssl_zoo.config import CONFIG_DIR, register_resolvers
from ssl_zoo.train import train

TINY = [  # nothing in it depends on the batch statistics of one process
    "dataset.splits.num_train=200",
    "dataset.splits.num_test=60",
    "backbone._target_=helpers.steps.NormFree",
    "backbone.widths=[8,16]",
    "backbone.strides=[2,2]",
    "method.embed_dim=16",
    "optimizer=sgd",
    "epochs=2",
    "batch_size=64",
    "precision=64-true",
    "log_every_n_steps=1",
    "name=test",
]

RUNS = cases("RUNS_OF_TWO")
WATCHED = ["simclr", "metric_learning"]  # the runs in which monitors are on
STEPPED = [(case, accumulate) for case in cases("TWO_PROCESSES") for accumulate in (1, 2)]
# one of each kind: in-batch, bank, queue, prediction, pairs, statistic, labels, prototypes
KINDS = ["moco", "byol", "instdisc", "metric_learning_pairs", "vicreg", "supcon", "swav_multi_crop"]
FIRST = [("simclr", 2), ("moco_bank", 2), *((case, 1) for case in KINDS)]


def of_two_processes(test: Callable[..., None]) -> Callable[..., None]:
    """Of the two processes that are started once for the file, so on one worker."""
    return pytest.mark.ddp(pytest.mark.xdist_group("two_processes")(test))


def to_be_run(request: pytest.FixtureRequest, *names: str) -> list[tuple[Any, ...]]:
    """The values that these parameters have in the tests of this file that will run."""
    items = [item for item in request.session.items if item.path == request.path]
    specs = [item.callspec.params for item in items if hasattr(item, "callspec")]
    found = [params for params in specs if params.keys() == set(names)]
    return list(dict.fromkeys(tuple(params[name] for name in names) for params in found))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Outcome(NamedTuple):
    ranks: list[dict[str, Any]]
    one: dict[str, dict[str, float]]
    folder: Path


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What each of two processes found, and the metrics of the same runs in one."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ddp")
    register_resolvers()
    ones, twos = {}, {}
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        for name in [
            *WATCHED,
            *(run for (run,) in to_be_run(request, "run") if run not in WATCHED),
        ]:
            overrides = [*TINY, *RUNS[name]]
            ones[name] = compose("train", [*overrides, f"run_dir={folder / 'one' / name}"])
            ddp = ["devices=2", "strategy=ddp", f"run_dir={folder / 'two' / name}"]
            two = compose("train", [*overrides, *ddp])
            twos[name] = OmegaConf.to_container(two, resolve=True)
    steps = to_be_run(request, "case", "accumulate")
    processes = multiprocessing.spawn(
        worker, (folder, free_port(), steps, twos), nprocs=2, join=False, daemon=True
    )
    metrics = {name: train(config) for name, config in ones.items()}
    while not processes.join():
        pass
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return Outcome(ranks, metrics, folder)


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], leave_out: str = " ") -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        if leave_out not in name:
            torch.testing.assert_close(
                ours[name], theirs[name], atol=1e-9, rtol=0, msg=lambda m, at=name: f"{at}: {m}"
            )


# --- collectives --------------------------------------------------------------------------------


@of_two_processes
def test_all_gather(outcome: Outcome) -> None:
    whole = torch.cat([rows(0, 3), rows(1, 3)]).requires_grad_()
    sum((whole * rows(rank, 6, seed=10)).sum() for rank in range(2)).backward()
    assert whole.grad is not None
    for rank, found in enumerate(outcome.ranks):
        assert found["rank"] == (rank, 2)
        assert torch.equal(found["gathered"], whole.detach())
        assert found["index"].tolist() == [0, 7, 1, 7]
        torch.testing.assert_close(found["gather_gradient"], whole.grad.chunk(2)[rank])


@of_two_processes
def test_gather_uneven(outcome: Outcome) -> None:
    for found in outcome.ranks:
        assert torch.equal(found["uneven"], torch.cat([rows(0, 1), rows(1, 3)]))
        assert found["one_empty"].tolist() == [0, 1]


@of_two_processes
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


# --- random draws -------------------------------------------------------------------------------


@of_two_processes
def test_shuffled_orders(outcome: Outcome) -> None:
    one = shuffles()["seen"]
    parts = [found["shuffles"] for found in outcome.ranks]
    assert torch.equal(torch.cat([part["seen"] for part in parts], dim=1), one)
    assert [row.sort().values.tolist() for row in one] == [list(range(IMAGES))] * 2
    assert one[0].tolist() != one[1].tolist() != list(range(IMAGES)) != one[0].tolist()
    mine = torch.arange(IMAGES).chunk(2)
    for part, rows_of_rank in zip(parts, mine, strict=True):
        assert torch.equal(part["returned"], rows_of_rank.expand(2, -1))


@of_two_processes
def test_drawn_slots(outcome: Outcome) -> None:
    one = bank_draws()
    two = torch.cat([found["bank_draws"] for found in outcome.ranks], dim=1)
    assert torch.equal(two, one)
    assert len({tuple(draw.tolist()) for step in one for draw in step}) == 2 * IMAGES


# --- the methods --------------------------------------------------------------------------------


@of_two_processes
@pytest.mark.parametrize(("case", "accumulate"), only(FIRST, STEPPED))
def test_two_halves_of_a_batch_equal_the_whole(
    outcome: Outcome, case: str, accumulate: int
) -> None:
    whole = run_steps(case, cases("TWO_PROCESSES")[case], accumulate)
    halves = [Steps(*found[f"{case} {accumulate}"]) for found in outcome.ranks]
    own = "running_"  # statistics are each process's own
    for half in halves:
        assert half.losses == pytest.approx(whole.losses, abs=1e-9)
        for ours, theirs in zip(half.gradients, whole.gradients, strict=True):
            assert_close(ours, theirs)
        assert_close(half.state, whole.state, leave_out=own)
    for name, value in halves[0].state.items():
        assert own in name or torch.equal(value, halves[1].state[name]), name
    assert_informative(whole, accumulate)


def assert_informative(steps: Steps, accumulate: int) -> None:
    """Nothing has collapsed or died, so that what is mixed up would show."""
    assert len(set(steps.losses)) == STEPS * accumulate
    for gradient in steps.gradients:
        weights = [g for name, g in gradient.items() if name.endswith("weight")]
        assert min(g.abs().max() for g in weights) > 1e-5
    queue = steps.state.get("negatives.queue")
    if queue is not None:
        assert torch.pdist(queue).min() > 1e-4


# --- complete runs ------------------------------------------------------------------------------


def column(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


def saved_state(folder: Path) -> dict[str, Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return dict(checkpoint["state_dict"])


@of_two_processes
@pytest.mark.parametrize("run", only(WATCHED, RUNS))
def test_a_run_of_two_processes_equals_a_run_of_one(outcome: Outcome, run: str) -> None:
    one, two = outcome.folder / "one" / run, outcome.folder / "two" / run
    losses = column(one, "train/loss")
    assert len(losses) == 2 * (180 // 64)
    assert len(set(losses)) == len(losses)
    assert column(two, "train/loss") == pytest.approx(losses, abs=1e-9)
    assert_close(saved_state(two), saved_state(one))


@of_two_processes
def test_monitors_see_the_features_of_both_processes(outcome: Outcome) -> None:
    one, two = outcome.folder / "one" / "simclr", outcome.folder / "two" / "simclr"
    for name in ("val/knn_top1", "val/probe_top1"):
        assert len(column(one, name)) == 2
        assert column(two, name) == column(one, name)
        alone = outcome.one["simclr"][name]
        assert [found["metrics"]["simclr"][name] for found in outcome.ranks] == [alone] * 2
    runs = [outcome.folder / processes / "metric_learning" for processes in ("one", "two")]
    assert len(column(runs[0], "val/map_at_r")) == 2
    curves = [column(run, "val/map_at_r") for run in runs]
    assert curves[1] == pytest.approx(curves[0], abs=1e-4)  # in float32, near ties change places
    files = [{p.relative_to(f) for p in f.rglob("*") if p.is_file()} for f in (one, two)]
    assert files[0] == files[1]
