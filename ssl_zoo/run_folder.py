"""result.json: how a run stands."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import Any

from ssl_zoo.config import task_overrides
from ssl_zoo.distributed import is_main_process
from ssl_zoo.training.sweep import summarize


def read_result(folder: Path) -> dict[str, Any]:
    """result.json, or nothing where there is none."""
    path = folder / "result.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return result


class Result:
    """result.json: how a run stands, with its last metrics; a resumed run goes on with the old one.

    Args:
        folder: The run's.
        config: Resolved.
        earlier: The result.json of the part before a resume.
    """

    def __init__(self, folder: Path, config: dict[str, Any], earlier: dict[str, Any]) -> None:
        self.folder, self.start, self.resumed = folder, monotonic(), bool(earlier)
        self.earlier_seconds = float(earlier.get("seconds", 0.0))
        self.head = {
            "name": config["name"],
            "overrides": earlier.get("overrides", task_overrides()),
            "seed": config["seed"],
        }

    def seconds(self) -> float:
        """Wall clock of all parts so far."""
        return self.earlier_seconds + monotonic() - self.start

    def write(
        self, status: str, metrics: dict[str, float] | None = None, error: str | None = None
    ) -> None:
        """Write it, and anew the summary of the sweep that a resumed job belongs to."""
        if not is_main_process():
            return
        end = {"status": status, "seconds": round(self.seconds(), 1), "metrics": metrics or {}}
        failure = {} if error is None else {"error": error}
        text = json.dumps(self.head | end | failure, indent=2)
        (self.folder / "result.json").write_text(text + "\n")
        if self.resumed and (self.folder.parent / "multirun.yaml").is_file():
            summarize(self.folder.parent)
