"""The names in a run folder, and its YAML, JSON and CSV. Imports no torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from ssl_zoo.lock import NAME, writer_of
from ssl_zoo.metric_names import EPOCH, IMAGES_SEEN
from ssl_zoo.types import UserError
from ssl_zoo.writing import read_json, write_text

# Statuses of a result.json. Those of a run that reached its last step:
ENDED = ("finished", "collapsed")
# Those that another try would only repeat: what a sweep that goes on keeps.
KEPT = (*ENDED, "pruned", NAN := "nan")
OUT_OF_MEMORY, FAILED = "out_of_memory", "failed"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where there is one


class RunFolder:
    """The files of a run, for writing and for reading.

    Args:
        path: The folder, which need not exist.

    Attributes:
        config: The resolved config, with the command line above it.
        metrics: Rows (step, epoch, images_seen, name, value), appended to, also by a resumed run.
        result: The run's status, with its last metrics.
        lock: Who writes the folder now.
        wandb: Which W&B run it is, so that a resumed run goes on in it.
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
        self.lock = self.path / NAME
        self.wandb = self.path / "wandb.json"
        self.skipped = self.path / "skipped_images.txt"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.figures = self.path / "figures"
        self.evaluation = self.path / "evaluation"

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def of(cls, run: str | Path) -> RunFolder:
        """The folder of a run that can go on, given itself or its last.ckpt.

        Raises:
            UserError: If there is no such checkpoint.
        """
        path = Path(run).expanduser()
        given = cls(path.parent.parent if path.is_file() else path)
        if path.name == given.checkpoints.name and (path / given.last.name).is_file():
            given = cls(path.parent)
        if path.is_file() and path.absolute() != given.last.absolute():
            raise UserError(
                f"resume={run} is not a run's last.ckpt, from which alone it goes on: give the run "
                f"folder; init={run} starts a new run from a checkpoint's weights"
            )
        if not path.exists():
            raise UserError(f"resume={run} does not exist: give a run folder")
        if not given.last.is_file():
            raise UserError(f"resume={run} holds no checkpoints/last.ckpt: give a run folder")
        return given

    def start(self, config: Mapping[str, Any], command: str) -> None:
        """Write config.yaml: resolved, and the command line above it.

        Raises:
            UserError: If a run is there already, or the folder cannot be written.
        """
        status = self.read_result().get("status")
        if self.last.exists() or status in ENDED:
            goes_on = f"continue with resume={self}, or " if self.last.exists() else ""
            raise UserError(f"{self} holds a run: {goes_on}choose another folder")
        text = yaml.safe_dump(dict(config), sort_keys=False)
        write_text(self.config, f"# {command}\n{text}", fix="choose another folder")
        for file in (self.metrics, self.wandb):  # of a run that never saved
            file.unlink(missing_ok=True)

    def take_back(self) -> None:
        """Remove what a run wrote that failed before it had trained; a folder with more stays."""
        own = {self.config, self.result, self.skipped}
        alone = self.path.is_dir() and own >= set(self.path.iterdir())
        if alone and self.read_result().get("status") == FAILED:
            for file in own:
                file.unlink(missing_ok=True)

    def check_there(self) -> None:
        """Before a run writes into its folder: what is gone stays gone.

        Raises:
            UserError: If it is gone.
        """
        if not self.path.is_dir():
            raise UserError(
                f"{self} is gone: it was moved or deleted while its run was writing it; the run "
                "ends, and a moved folder goes on with resume="
            )

    def change(self, config: Mapping[str, Any], comment: str) -> None:
        """Rewrite config.yaml, with a comment below those that it begins with."""
        text = self.config.read_text(encoding="utf-8") if self.config.is_file() else ""
        comments = [line for line in text.splitlines() if line.startswith("#")]
        head = "\n".join([*comments, f"# {comment}"])
        write_text(self.config, f"{head}\n{yaml.safe_dump(dict(config), sort_keys=False)}")

    def read_config(self) -> dict[str, Any]:
        """The config, with paths adjusted to where the folder is now.

        Raises:
            UserError: If it was cut short, or edited into something else.
        """
        try:
            config = yaml.load(self.config.read_text(encoding="utf-8"), _Loader)
        except (yaml.YAMLError, UnicodeDecodeError):
            config = None
        if not isinstance(config, dict) or "run_dir" not in config:
            raise UserError(
                f"{self.config} is no config of a run: restore it, or delete it: last.ckpt holds "
                "the run's config too"
            )
        here: dict[str, Any] = moved(config, config["run_dir"], str(self.path.resolve()))
        return here

    def read_result(self) -> dict[str, Any]:
        """result.json, empty if there is none.

        Its status is "interrupted" where it says "running" and no process writes the folder: a
        process that is killed writes nothing more; and where it cannot be read, as of a full disk.
        """
        if not self.result.exists():
            return {}
        text = self.result.read_text(encoding="utf-8")
        try:
            result = read_json(self.result)
        except UserError as error:
            return {"status": "interrupted", "error": str(error)}
        if result.get("status") == "running" and writer_of(self.path) is None:
            if self.result.read_text(encoding="utf-8") != text:  # it ended just now
                return self.read_result()
            result["status"] = "interrupted"
        return result

    def came_to_nothing(self) -> bool:
        """Whether a run failed before it had anything to show, as for a value that was refused."""
        result = self.read_result()
        nothing = not result.get("metrics") and not self.last.exists()
        return nothing and result.get("status") == "failed"

    def unfinished(self) -> str:
        """A line about a run that is not finished; "" if it is, or this is not a run's folder."""
        status = self.read_result().get("status", "finished")
        if status in ENDED:
            return ""
        return f"{self} is {status}: its scores are those of the last checkpoint that was saved"

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json; the facts that it holds stay.

        Raises:
            UserError: If the folder is gone.
        """
        self.check_there()
        whole = dict(result)
        if (facts := self.read_result().get("facts")) is not None:
            whole.setdefault("facts", facts)
        write_text(self.result, json.dumps(whole, indent=2) + "\n")

    def fail(self, error: str, otherwise: Mapping[str, Any] | None = None) -> bool:
        """Say that the run has failed, where it could not say so itself.

        Args:
            error: Why.
            otherwise: What a result.json begins with where the run has left none; None = then
                nothing is written.

        Returns:
            Whether it was written.
        """
        result = self.read_result() or otherwise
        if not result:
            return False
        self.path.mkdir(parents=True, exist_ok=True)  # it may have been taken back
        self.write_result(dict(result) | {"status": FAILED, "error": error})
        return True

    def keep_facts(self, facts: Mapping[str, Any]) -> None:
        """Write what a run read, and where it is trained, into result.json."""
        self.write_result(self.read_result() | {"facts": dict(facts)})

    def read_wandb(self) -> dict[str, Any]:
        """Which W&B run it is: id, entity, project, group and more; empty if it is none."""
        if not self.wandb.is_file():
            return {}
        return read_json(self.wandb)

    def keep_wandb(self, known: Mapping[str, Any]) -> None:
        """Write which W&B run it is."""
        self.check_there()
        write_text(self.wandb, json.dumps(dict(known), indent=2) + "\n")

    def append_metrics(
        self,
        step: int | None,
        metrics: Mapping[str, float],
        epoch: int | None = None,
        images_seen: int | None = None,
    ) -> None:
        """Add a row per metric.

        Raises:
            UserError: If the folder is gone.
        """
        new = not self.metrics.exists()
        self.check_there()
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


def new_folder(path: Path) -> Path:
    """Make a folder that nobody else has, with a suffix -2, -3 ... where the name is taken.

    Raises:
        UserError: If it cannot be made.
    """
    names = (path.name if n == 1 else f"{path.name}-{n}" for n in count(1))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for name in names:
            try:
                path.with_name(name).mkdir()  # exclusive, also between processes and machines
            except FileExistsError:
                continue
            return path.with_name(name)
    except OSError as error:
        raise UserError(f"cannot make {path}: {error.strerror}; choose another folder") from error
    raise AssertionError  # the names do not end


def moved(node: Any, old: str, new: str) -> Any:
    """The config with its paths moved from `old` to `new`."""
    if isinstance(node, dict):
        return {key: moved(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [moved(value, old, new) for value in node]
    if isinstance(node, str) and (node == old or node.startswith(f"{old}/")):
        return new + node[len(old) :]
    return node
