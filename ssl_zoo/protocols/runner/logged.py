"""An evaluation in W&B: rows, accuracies of classes, pictures, and links to what it scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import copies, instantiate, shown, to_plain
from ssl_zoo.loggers import WandbRun, closed_at_end, csv_table, rows_table, settings_table, used
from ssl_zoo.multirun import is_sweep, results_in
from ssl_zoo.protocols.runner.results import Results
from ssl_zoo.protocols.runner.saved import is_saved
from ssl_zoo.protocols.runner.settings import run_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.types import UserError

_TARGET = "ssl_zoo.loggers.wandb_evaluation"
_OF_DATA = ("data", "augmentation", "backbone", "dataset", "logger")  # the scored run's config


class Log:
    """What `logger=wandb` of evaluate.py writes; without it, nothing.

    Args:
        cfg: As composed from conf/evaluate.yaml.

    Raises:
        UserError: If another logger is chosen.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        chosen = dict(cfg.get("logger") or {})
        others = [name for name in chosen if name != "wandb"]
        if others:
            raise UserError(f"logger={others[0]}: evaluate.py writes JSON files, and W&B: wandb")
        self.node = chosen.get("wandb")
        self.run: WandbRun | None = None
        self.results: list[Results] = []
        self.began = time()

    @contextmanager
    def opened(self, folder: Path, ckpts: Sequence[str]) -> Iterator[None]:
        """W&B's run around an evaluation; one that fails is marked so.

        Args:
            folder: Where the results go.
            ckpts: What is scored.
        """
        if self.node is None:
            yield
            return
        runs = [run for ckpt in ckpts for run in _runs(ckpt)]
        known = [of for run in runs if (of := run.read_wandb())]
        given = {"_target_": _TARGET, "folder": str(folder), "scored": known}
        given["beside"] = Path(ckpts[0]).stem if len(ckpts) == 1 else f"{len(ckpts)}_checkpoints"
        node = OmegaConf.create({"logger": {"wandb": {**to_plain(self.node), **given}}})
        folder.mkdir(parents=True, exist_ok=True)
        with closed_at_end() as loggers:
            self.run = instantiate(node.logger.wandb)
            loggers.append(self.run)
            self.run.open()
            if self.node.into_scored_run is False:
                self.run.show_config(self._config(runs, known))
            for ckpt in ckpts:
                used(self.run.experiment, self.run.mode, ckpt)
            yield

    def _config(self, runs: Sequence[RunFolder], known: Sequence[Mapping[str, Any]]) -> Any:
        """The evaluation's, and which runs it scores."""
        raw = to_plain(self.cfg)
        config = {key: value for key, value in raw.items() if key not in _OF_DATA}
        options = [dict(of.get("options", {})) for of in known]
        same = options[0] if options and all(one == options[0] for one in options) else {}
        if not is_saved(raw["dataset"]):
            same["dataset"] = raw["dataset"].get("name")
        ids = [of["id"] for of in known]
        flat = shown(config, copies(self.cfg), same)
        folders = [str(run) for run in runs]
        return flat | {"scores_run": _one(ids), "scores_folder": _one(folders)}

    def add(self, results: Results) -> None:
        """Remember what was written, for `send`."""
        self.results.append(results)

    def send(self, written: Mapping[str, Mapping[str, Any]]) -> None:
        """Send rows by protocol, means over seeds, accuracies of classes, and pictures."""
        if self.run is None:
            return
        row: dict[str, Any] = {}
        for name, result in written.items():
            rows = result["rows"]
            row[f"evaluation/{name}"] = rows_table(rows)
            if lines := result.get("settings"):
                row[f"settings/{name}"] = settings_table(lines)
            scores = rows.get("pretrained") or {}
            row |= {f"{name}/{k}": v for k, v in scores.items() if isinstance(v, int | float)}
        for results in self.results:
            row |= self._files(results)
        self.run.log_metrics(row)

    def _files(self, results: Results) -> dict[str, Any]:
        from wandb import Image

        found: dict[str, Any] = {}
        several = "" if len(self.results) == 1 else f"{run_of(results.sources[0].ckpt).path.name}/"
        for name, path in results.paths.items():
            by_class = path.with_name(f"{path.stem}_per_class.csv")
            if by_class.is_file():
                found[f"per_class/{several}{name}"] = csv_table(by_class)
            for file in sorted((results.folder / "figures").glob(f"{path.stem}*.png")):
                if file.stat().st_mtime >= self.began - 1:  # others are of earlier evaluations
                    found[f"figures/{several}{file.stem}"] = Image(str(file))
        return found


def _runs(ckpt: str) -> list[RunFolder]:
    """The runs of ours that a source means."""
    path = Path(ckpt).expanduser()
    if is_sweep(path):
        return [RunFolder(path / name) for name, _ in results_in(path)]
    run = run_of(ckpt)
    return [run] if run.config.is_file() else []


def _one(values: Sequence[str]) -> Any:
    """One as itself, several as a list, none as null."""
    return list(values) if len(values) > 1 else next(iter(values), None)
