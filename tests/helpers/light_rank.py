"""A rank that trains nothing, and ends as the job's config says. Imports no torch: it is quick."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from pathlib import Path

import yaml


def report(place: Path, outcome: object) -> None:
    (place / f"{os.environ['LOCAL_RANK']}.pkl").write_bytes(
        pickle.dumps((outcome, "its traceback"))
    )


def main(place: Path) -> None:
    job = yaml.safe_load((place / "job.yaml").read_text())
    rank, folder = int(os.environ["RANK"]), Path(job["folder"])
    partial = folder / f"{os.getpid()}.tmp"
    partial.write_text(str(os.getpid()))
    partial.rename(folder / f"{rank}.pid")
    while len(list(folder.glob("*.pid"))) < int(os.environ["WORLD_SIZE"]):
        time.sleep(0.01)
    end = job["config"]["ends"][rank]
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "leaves":
        os._exit(3)
    if end == "signals":
        os.kill(os.getppid(), signal.SIGTERM)
    if end in ("hangs", "signals"):
        time.sleep(600)
    if end == "fails":
        report(place, ValueError(f"of rank {rank}"))
        sys.exit(1)
    if end == "follows":  # fails since another one did
        while not list(place.glob("*.pkl")):
            time.sleep(0.01)
        report(place, RuntimeError("connection closed by peer"))
        sys.exit(1)
    report(place, {"rank": float(rank), "trusts": os.environ["SSL_ZOO_TRUST"]})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
