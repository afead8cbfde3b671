"""Seconds of evaluation on this machine: kNN beside lightly's, retrieval, logistic regression.

    python benchmarks/evaluate.py
    python benchmarks/evaluate.py knn --repeats 5
    PYTHONPATH=DIR python benchmarks/evaluate.py knn   # pip install --no-deps -t DIR lightly
    python benchmarks/evaluate.py frozen --run runs/demo

Each part runs in a process of its own. lightly's function and ours take the same features in turn;
the ratio is of the two in one round. The whole takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_zoo.data.datasets.drawn_shapes import draw_shapes
from ssl_zoo.evaluation import fit_logistic, knn_predict, retrieval_metrics
from ssl_zoo.hardware import has_native_bf16, peak_memory

PARTS = ["knn", "retrieval", "logistic", "pixels", "frozen"]
LIGHTLY_BATCH = 256  # queries in one call of lightly's function
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def features(count: int, width: int = 512, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows as after a ReLU: ten classes that overlap in 64 directions of falling size."""
    generator = torch.Generator().manual_seed(1)
    scale = torch.logspace(0, -1, 64)[:, None]
    directions = scale * torch.randn(64, width, generator=generator)
    centres = 0.3 * torch.randn(10, 64, generator=generator)
    generator.manual_seed(2 + seed)
    label = torch.randint(10, (count,), generator=generator)
    inner = centres[label] + torch.randn(count, 64, generator=generator)
    noise = 0.3 * torch.randn(count, width, generator=generator)
    return torch.relu(inner @ directions + noise).to(DEVICE), label.to(DEVICE)


def pixels(count: int) -> tuple[Tensor, Tensor]:
    """Drawn shapes, (N, 3072)."""
    drawn = [draw_shapes(index, 0) for index in torch.arange(count).split(2000)]
    images, label = (torch.cat(column) for column in zip(*drawn, strict=True))
    return images.flatten(1).float().to(DEVICE), label.to(DEVICE)


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call takes, and what it returns."""
    start = perf_counter()
    result = call()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start, result


def lightly_function() -> tuple[str, Callable[..., Tensor]]:
    """Lightly's own function, else its published algorithm; the rest of lightly is not imported."""
    package = importlib.util.find_spec("lightly")
    if package is None or package.submodule_search_locations is None:
        return "lightly's form, written here as lightly is not installed", lightly_form
    file = Path(package.submodule_search_locations[0]) / "utils" / "benchmarking" / "knn.py"
    spec = importlib.util.spec_from_file_location("lightly_knn", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return "lightly", module.knn_predict


def lightly_form(
    query: Tensor, bank: Tensor, label: Tensor, num_classes: int, knn_k: int, knn_t: float
) -> Tensor:
    """Classes by falling score: the whole similarity matrix, topk, one-hot votes."""
    weight, index = (query @ bank).topk(knn_k, dim=-1)
    votes = torch.zeros(index.numel(), num_classes, device=query.device)
    votes.scatter_(1, label[index].view(-1, 1), 1.0)
    weight = (weight / knn_t).exp()[..., None]
    score = (votes.view(len(query), knn_k, num_classes) * weight).sum(1)
    return score.argsort(dim=-1, descending=True)


def knn(repeats: int) -> None:
    """10,000 queries, 50,000 rows of 512, k = 200, ten classes."""
    name, theirs = lightly_function()
    query, _ = features(10_000, seed=1)
    bank, label = features(50_000)

    def ours_call() -> Tensor:
        return knn_predict(query, bank, label, 10, 200, 0.1).argmax(1)

    def theirs_call() -> Tensor:
        columns = normalize(bank, dim=1).T.contiguous()
        parts = normalize(query, dim=1).split(LIGHTLY_BATCH)
        return torch.cat([theirs(q, columns, label, 10, 200, 0.1)[:, 0] for q in parts])

    ours, others = [], []
    for _ in range(repeats):
        one, predicted = seconds(ours_call)
        two, expected = seconds(theirs_call)
        ours.append(one)
        others.append(two)
    print(f"{int((predicted != expected).sum())} of 10,000 predictions differ from {name}'s")
    show("kNN, 10,000 x 50,000 x 512, k = 200", ours)
    show(name, others)
    ratios = [b / a for a, b in zip(ours, others, strict=True)]
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    print(f"ours is {statistics.median(ratios):.2f} times as fast ({spread})")


def retrieval(repeats: int) -> None:
    """Memory at two sizes, and the time of the larger one."""
    for count in (15_000, 60_000):
        rows, label = features(count)
        before = memory()
        taken = [seconds(lambda: retrieval_metrics(rows, label))[0] for _ in range(repeats)]  # noqa: B023
        show(f"retrieval, {count:,} x {count:,} x 512, ten classes", taken)
        print(f"peak memory {memory():.2f} GB, {memory() - before:.2f} more than the features took")


def memory() -> float:
    """GB that were in use at most so far."""
    peak = peak_memory(DEVICE)
    return float("nan") if peak is None else peak[0]


def logistic(repeats: int) -> None:
    """The whole path and the final fit; 45,000 rows are train, 5,000 are val."""
    fit(
        "logistic regression, 15 strengths and the refit, 45,000 x 512 x 10",
        features(50_000),
        repeats,
    )


def raw_pixels(repeats: int) -> None:
    """The same of raw pixels."""
    fit("the same on raw pixels, 45,000 x 3,072 x 10", pixels(50_000), repeats)


def fit(name: str, rows: tuple[Tensor, Tensor], repeats: int) -> None:
    x, y = rows
    taken = []
    for _ in range(repeats):
        one, found = seconds(
            lambda: fit_logistic(x[:45_000], y[:45_000], x[45_000:], y[45_000:], 10)
        )
        taken.append(one)
    show(name, taken)
    val = max(found.val_top1)
    print(f"largest gradient {found.gradient:.1e}, strength {found.strength:g}, val {val:.4f}")


def frozen(repeats: int, run: str | None) -> None:
    """evaluate.py from start to end; without --run, of a run of one epoch that is trained first."""
    root = Path(__file__).resolve().parents[1]
    with TemporaryDirectory() as folder:
        source = run or f"{folder}/run"
        if run is None:
            train = [sys.executable, "train.py", "epochs=1", f"hydra.run.dir={source}"]
            subprocess.run(train, check=True, cwd=root, capture_output=True)
        taken = []
        for number in range(repeats):
            command = [sys.executable, "evaluate.py", f"ckpt={source}", "protocol=all_frozen"]
            command.append(f"out={folder}/out{number}")
            start = perf_counter()
            subprocess.run(command, check=True, cwd=root, capture_output=True)
            taken.append(perf_counter() - start)
    show("protocol=all_frozen, 12,000 images of 32 x 32, three rows", taken)


def show(name: str, taken: list[float]) -> None:
    spread = f"{min(taken):.2f}-{max(taken):.2f}"
    print(f"{name}: {statistics.median(taken):.2f} s ({spread}, n={len(taken)})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default all"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", help="a run on the shapes, for the part frozen")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not args.inside:
        bf16 = "native" if has_native_bf16(DEVICE) else "no native"
        threads = torch.get_num_threads()
        where = f"{DEVICE.type}, {platform.machine()}, {threads} threads, {bf16} bfloat16"
        print(f"torch {torch.__version__}, {where}", flush=True)
        for part in args.parts or PARTS:
            rest = ["--repeats", str(args.repeats), *(["--run", args.run] if args.run else [])]
            command = [sys.executable, __file__, part, "--inside", *rest]
            subprocess.run(command, check=True, env=os.environ)
        return
    simple = {"knn": knn, "retrieval": retrieval, "logistic": logistic, "pixels": raw_pixels}
    if args.parts == ["frozen"]:
        frozen(args.repeats, args.run)
    else:
        simple[args.parts[0]](args.repeats)


if __name__ == "__main__":
    main()
