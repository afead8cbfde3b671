"""Twenty small jobs with hydra/launcher=joblib on two cores, and the same one after another.

The latter are `python train.py` with one thread each, imports included. Beside each other they may
take 1.15 times half of that sum. `python benchmarks/sweep.py`, about 8 minutes
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]
JOBS = 20
SMALL = ["dataset.splits.num_train=2000", "backbone.widths=[16,32]", "backbone.strides=[2,2]"]
SMALL += ["epochs=4", "batch_size=128", "precision=32-true"]


def seconds(folder: str, *args: str, **env: str) -> float:
    start = perf_counter()
    command = [sys.executable, str(ROOT / "train.py"), *args]
    quiet = {"cwd": folder, "env": os.environ | {"PYTHONPATH": str(ROOT)} | env}
    subprocess.run(command, check=True, capture_output=True, **quiet)  # type: ignore[call-overload]
    return perf_counter() - start


def one_alone(folder: str, seed: int) -> float:
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return seconds(folder, *SMALL, f"seed={seed}", f"run_dir=alone{seed}", **one_thread)


def main() -> None:
    with TemporaryDirectory() as folder:
        seconds(folder, *SMALL, "run_dir=warm")  # files that the first run reads from the disk
        alone = [one_alone(folder, seed) for seed in range(JOBS // 2)]
        seeds = ",".join(map(str, range(JOBS)))
        joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
        together = seconds(folder, "-m", *joblib, *SMALL, f"seed={seeds}", "sweep=joblib")
        print(f"{JOBS} jobs, joblib on 2 cores: {together:.1f} s", flush=True)
        # half before and half after, since a machine's speed drifts over minutes
        alone += [one_alone(folder, seed) for seed in range(JOBS // 2, JOBS)]
    print(
        f"one after another, one thread each: {sum(alone):.1f} s, {sum(alone) / JOBS:.1f} s each "
        f"({min(alone):.1f} to {max(alone):.1f})"
    )
    print(f"ratio to half the sum: {together / (sum(alone) / 2):.2f} (at most 1.15)")


if __name__ == "__main__":
    main()
