"""Searches whose runs cost nothing: Hydra's launcher is replaced by one that leaves results."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import CONFIG_DIR, register_resolvers
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.search.trials import Search

KNOBS = ("method.temperature=interval(0.02,1)", "optimizer.lr=tag(log,interval(1e-4,1e-1))")
Job = Callable[[int, RunFolder], None]


def value_of(overrides: Sequence[str]) -> float:
    """A smooth function of the two knobs, best at 0.2 and 1e-2."""
    typed = dict(one.split("=", 1) for one in overrides)
    away = abs(float(typed.get("method.temperature", 0.2)) - 0.2)
    return 0.9 - away - 0.1 * abs(math.log10(float(typed.get("optimizer.lr", 1e-2))) + 2)


def leave(run: RunFolder, overrides: Sequence[str], status: str = "finished") -> None:
    """What a run leaves in its folder."""
    metrics = {"val/knn_top1": value_of(overrides)} if status == "finished" else {}
    result = {"status": status, "overrides": list(overrides), "metrics": metrics, "seconds": 1.0}
    run.write_result(result | ({"error": "it broke"} if status == "failed" else {}))


class Launcher:
    """Runs a job by leaving its result.

    Args:
        before: Called with the trial's number and its folder before each job; may raise.
        status: Of the runs, by number.
    """

    def __init__(
        self,
        before: Job = lambda number, run: None,
        status: Callable[[int], str] = lambda _: "finished",
    ) -> None:
        self.before, self.status = before, status
        self.lines: list[list[str]] = []

    def launch(self, lines: list[list[str]], initial_job_idx: int) -> None:
        for line in lines:
            *overrides, place = line
            number = int(place.partition("=")[2].strip("'"))
            self.lines.append(overrides)
            run = RunFolder(Path(self.folder) / str(number))
            if overrides[0].startswith("resume="):
                overrides = list(run.read_result()["overrides"])
            self.before(number, run)
            leave(run, overrides, self.status(number))


@cache
def _composed(settings: tuple[str, ...]) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        given = ["hydra/sweeper=optuna", *(f"hydra/{one}" for one in settings)]
        return compose("train", given, return_hydra_config=True)


def config_of(folder: Path, *settings: str) -> DictConfig:
    """The multirun's config; the settings are below `hydra`, such as sweeper.n_trials=3."""
    of_groups = tuple(one for one in settings if "/" in one.partition("=")[0])
    cfg = _composed(of_groups).copy()
    OmegaConf.set_readonly(cfg, False)
    plain = [f"hydra.{one}" for one in settings if one not in of_groups]
    for one in OverridesParser.create().parse_overrides(plain):
        OmegaConf.update(cfg, one.key_or_group, one.value(), force_add=True)
    OmegaConf.update(cfg, "hydra.sweep.dir", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    return cfg


def searched(
    folder: Path, *settings: str, knobs: Sequence[str] = KNOBS, launcher: Launcher | None = None
) -> Launcher:
    """Search, and return what was launched."""
    launcher = launcher or Launcher()
    launcher.folder = folder  # type: ignore[attr-defined]
    Search(list(knobs), config_of(folder, *settings), launcher, None).run()
    return launcher


def table(folder: Path) -> list[list[str]]:
    """trials.csv without the seconds."""
    with (folder / "trials.csv").open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def points(folder: Path) -> list[list[float]]:
    """The knobs' values, of each trial."""
    return [[float(text) for text in row[3:-1]] for row in table(folder)[1:]]


def read(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "result.json").read_text()))
