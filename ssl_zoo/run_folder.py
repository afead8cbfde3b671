"""The names in a run folder, and its YAML, JSON and CSV. Imports no torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ssl_zoo.metric_names import EPOCH, IMAGES_SEEN
from ssl_zoo.types import UserError
from ssl_zoo.writing import write_text


class RunFolder:
    """The files of a run, for writing and for reading.

    Args:
        path: The folder, which need not exist.

    Attributes:
        config: The resolved config, with the command line above it.
        metrics: Rows (step, epoch, images_seen, name, value), appended to, also by a resumed run.
        result: The run's status, with its last metrics.
        skipped: The images that were left out; conf/dataset/folder.yaml has this name too.
        checkpoints: The folder of `last` and `best`.
        figures: The folder of the run's pictures.
        evaluation: The folder of evaluate.py's results.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.csv"
        self.result = self.path / "result.json"
        self.skipped = self.path / "skipped_images.txt"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.figures = self.path / "figures"
        self.evaluation = self.path / "evaluation"

    def __str__(self) -> str:
        return str(self.path)

    def start(self, config: Mapping[str, Any], command: str) -> None:
        """Create the folder, with config.yaml: resolved, and the command line above it.

        Raises:
            UserError: If a run is there already, or the folder cannot be written.
        """
        if self.last.exists():
            raise UserError(
                f"{self} holds a run: continue with resume={self}, or choose another folder"
            )
        text = yaml.safe_dump(dict(config), sort_keys=False)
        write_text(self.config, f"# {command}\n{text}", fix="choose another folder")
        self.metrics.unlink(missing_ok=True)  # of a run that never saved

    def read_config(self) -> dict[str, Any]:
        """The config, with paths adjusted to where the folder is now."""
        config: dict[str, Any] = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        here: dict[str, Any] = moved(config, config["run_dir"], str(self.path.resolve()))
        return here

    def read_result(self) -> dict[str, Any]:
        """result.json, empty if there is none."""
        if not self.result.exists():
            return {}
        result: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        return result

    def write_result(self, result: Mapping[str, Any]) -> None:
        write_text(self.result, json.dumps(dict(result), indent=2) + "\n")

    def append_metrics(
        self,
        step: int | None,
        metrics: Mapping[str, float],
        epoch: int | None = None,
        images_seen: int | None = None,
    ) -> None:
        """Add a row per metric."""
        new = not self.metrics.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        with self.metrics.open("a", newline="") as file:
            rows = csv.writer(file)
            if new:
                rows.writerow(["step", EPOCH, IMAGES_SEEN, "name", "value"])
            place = [step, epoch, images_seen]
            rows.writerows([*place, name, value] for name, value in metrics.items())

    def read_metrics(self) -> dict[str, list[tuple[int, float]]]:
        """The curves: for each name its (step, value) pairs in order of step.

        Rows of a step that a resumed run repeated are twice in the file; the last one counts.
        """
        curves: dict[str, dict[int, float]] = {}
        if not self.metrics.exists():  # a run too short to log anything
            return {}
        with self.metrics.open(newline="") as file:
            for row in csv.reader(file):
                try:
                    step, _, _, name, value = row
                    curves.setdefault(name, {})[int(step)] = float(value)
                except ValueError:  # the header, or a line that a kill cut short
                    continue
        return {name: sorted(points.items()) for name, points in curves.items()}


def moved(node: Any, old: str, new: str) -> Any:
    """The config with its paths moved from `old` to `new`."""
    if isinstance(node, dict):
        return {key: moved(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [moved(value, old, new) for value in node]
    if isinstance(node, str) and (node == old or node.startswith(f"{old}/")):
        return new + node[len(old) :]
    return node
