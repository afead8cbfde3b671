"""Folders of sweeps as runs and evaluate.py leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from ssl_zoo.metric_names import KNN_TOP1
from ssl_zoo.run_folder import RunFolder


def ended(folder: Path, overrides: Mapping[str, str], score: float | None, **more: Any) -> Path:
    """A run with these overrides and this kNN; `more` replaces what its result.json says."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {} if score is None else {KNN_TOP1.name: score}
    result = {"status": "finished", "name": "x", "seconds": 1.0, "metrics": metrics}
    seed = int(overrides.get("seed", "0"))
    typed = [f"{key}={value}" for key, value in overrides.items()]
    RunFolder(folder).write_result(result | {"seed": seed, "overrides": typed} | more)
    return folder


def grid(folder: Path, scores: list[float | None], **knobs: str) -> Path:
    """A sweep; a job for each combination of comma-separated values, `__` for a dot in a name."""
    names = [name.replace("__", ".") for name in knobs]
    values = product(*(text.split(",") for text in knobs.values()))
    for number, (combination, score) in enumerate(zip(values, scores, strict=True)):
        overrides = dict(zip(names, combination, strict=True))
        status = "finished" if score is not None else "failed"
        ended(folder / str(number), overrides, score, status=status)
    (folder / "multirun.yaml").touch()
    return folder


def evaluated(run: Path, protocol: str, top1: float, id: str = "0a1b2c3d", **rows: float) -> None:
    """What evaluate.py writes for a run: its own row, and others beside it."""
    scores = {"pretrained": top1, **{name.replace("_", " "): value for name, value in rows.items()}}
    result = {
        "headline": "test_top1",
        "protocol_id": id,
        "rows": {
            name: {"protocol_id": id, "test_top1": value, "test_top5": 0.9, "num_bank": 9}
            for name, value in scores.items()
        },
    }
    folder = RunFolder(run).evaluation
    folder.mkdir(exist_ok=True)
    (folder / f"{protocol}.json").write_text(json.dumps(result))
