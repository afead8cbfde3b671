"""A W&B run of its own for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import choice
from string import ascii_lowercase, digits
from textwrap import shorten
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from ssl_zoo.console import warn
from ssl_zoo.loggers.wandb_models import upload
from ssl_zoo.loggers.wandb_options import check_log_model, code_folder, mode_of, tag_list, text
from ssl_zoo.metric_names import AXES, GLOBAL_STEP, METRICS, WALL_SECONDS, best_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.types import BadValue, UserError

_RISING = [metric.name for metric in METRICS if metric.is_share]  # whose best is the highest


def wandb_logger(
    folder: str,
    project: str,
    name: str,
    group: str | None = None,
    mode: str = "auto",
    entity: str | None = None,
    tags: str | Sequence[str] | None = None,
    notes: str | None = None,
    job_type: str = "train",
    log_model: bool | str = False,
    into_scored_run: bool = False,
    **options: Any,
) -> WandbRun:
    """A W&B run of its own for this run, or the one that the folder's run is; see docs/wandb.md.

    Args:
        folder: The run's.
        project: W&B's project.
        name: The run's name.
        group: The sweep that it belongs to.
        mode: auto (offline where there is no network), online, offline or disabled; WANDB_MODE,
            where set, goes before auto.
        entity: The team or user that the project is of; None = as W&B is set up.
        tags: Of the run.
        notes: Of the run.
        job_type: What kind of run it is.
        log_model: Upload the checkpoints: true = at the end, all = at each save.
        into_scored_run: Of evaluate.py only, which makes its run in its own way.
        **options: Further arguments of Lightning's WandbLogger and of wandb.init.

    Raises:
        BadValue: If the mode is unknown, a text or tag is not valid, or an id is given to a sweep.
    """
    if into_scored_run:
        raise BadValue("into_scored_run", into_scored_run, says="is for evaluate.py")
    if group is not None and options.get("id") is not None:
        says = "would make all jobs of the sweep one W&B run: leave it out"
        raise BadValue("id", options["id"], says=says)
    if group is not None:
        name = f"{name}-{Path(folder).name}"  # a sweep's jobs by their number
        options["id"] = new_id()  # not WANDB_RUN_ID, which is one
    check_log_model(log_model)
    texts = {"project": project, "name": name, "group": group, "entity": entity, "notes": notes}
    texts["job_type"] = job_type
    checked: dict[str, Any] = {key: text(key, value) for key, value in texts.items()}
    run = RunFolder(folder)
    return WandbRun(run, mode_of(mode), log_model, tags=tag_list(tags), **checked, **options)


class WandbRun(WandbLogger):
    """Lightning's logger, with rows by step, a run that goes on, summaries and checkpoints.

    All that is logged at one step is one row of W&B, whose own step is that step.

    Args:
        folder: The run's. If it is a W&B run already, that one is continued.
        mode: online, offline or disabled.
        log_model: False, True or "all", see `wandb_logger`.
        continues: Whether the folder's run and W&B's are one; not so for an evaluation of it.
        **options: Of Lightning's WandbLogger and of wandb.init.
    """

    def __init__(
        self,
        folder: RunFolder,
        mode: str,
        log_model: bool | str = False,
        continues: bool = True,
        **options: Any,
    ) -> None:
        self.folder, self.mode, self.continues = folder, mode, continues
        self.known = folder.read_wandb() if continues else {}
        self.uploads = log_model
        for place in ("id", "project", "entity"):
            if self.known.get(place):
                options[place] = self.known[place]
        # offline W&B cannot look a run up: a further segment has its id, and its steps go on
        resume = None if mode != "online" else "must" if self.known else "allow"
        from wandb import Settings

        settings = Settings(git_root=str(code_folder()))
        # the mode is wandb's own: Lightning's `offline` changes the environment of later runs
        ours = {"resume": resume, "settings": settings, "save_code": True}
        super().__init__(save_dir=str(folder), mode=mode, **{**ours, **options})
        self._wandb_init.pop("anonymous", None)  # W&B would warn of it
        self._step, self._row, self._seconds = -1, dict[str, Any](), 0.0
        self._timed = not continues  # an evaluation's rows have no time
        self._best: dict[str, float] = {}

    def open(self) -> None:
        """Open the run, or continue it, and say so in the run folder.

        Raises:
            UserError: If W&B has no key, is not reached, or refuses an argument.
        """
        run = _opened(self)
        if self.mode == "disabled" or not self.continues:
            return
        for axis in AXES:
            run.define_metric(axis)
        self.known = self.known | {
            "id": run.id,
            "name": run.name,
            "project": run.project,
            "entity": run.entity or None,
            "group": run.group or None,
        }
        self.folder.keep_wandb(self.known)
        curves = self.folder.read_metrics()  # of the parts before
        rising = {name: curves[name] for name in _RISING if name in curves}
        self._best = {name: max(v for _, v in points) for name, points in rising.items()}
        self.summarize({best_of(name): value for name, value in self._best.items()})

    def say(self, **facts: Any) -> None:
        """Keep more in the run folder, for the run's later parts and its evaluations."""
        self.known = self.known | facts
        if self.mode != "disabled":
            self.folder.keep_wandb(self.known)

    def show_config(self, flat: Mapping[str, Any]) -> None:
        """Hand over a flat config; what a W&B sweep has chosen is locked, and there already."""
        run = self.experiment
        locked = set(run.config.keys()) if run.sweep_id else set()
        new = {key: value for key, value in flat.items() if key not in locked}
        run.config.update(new, allow_val_change=True)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if step is not None and step != self._step:
            self.flush()
            self._step = step
        self._row.update(metrics)
        self._seconds = metrics.get(WALL_SECONDS, self._seconds)
        for name in _RISING:
            if name in metrics and metrics[name] > self._best.get(name, float("-inf")):
                self._best[name] = float(metrics[name])
                self.experiment.summary[best_of(name)] = self._best[name]

    def flush(self) -> None:
        """Send the row of the step so far."""
        if not self._row:
            return
        row, self._row = self._row, {}
        if self._step < 0:
            self.experiment.log(row)
            return
        row[GLOBAL_STEP] = self._step
        # W&B drops rows of steps that it has passed: repeated ones, or where a user logs beside us
        passed = self.mode != "disabled" and self.experiment.step > self._step
        self.experiment.log(row, step=None if passed else self._step)

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Values of the run as a whole."""
        self._timed |= "seconds" in values
        self.experiment.summary.update(dict(values))

    def alert(self, title: str, message: str) -> None:
        """Notify whoever has asked W&B for it."""
        self.experiment.alert(title=title, text=message, level="WARN")

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        if isinstance(checkpoint_callback, ModelCheckpoint):  # the user's own, beside ours
            super().after_save_checkpoint(checkpoint_callback)
        elif self.uploads == "all":
            upload(self.experiment, self.folder, self._step)

    def close(self, exit_code: int) -> None:
        """Send what is left, and end the run.

        Args:
            exit_code: 0 = it finished; W&B shows any other as failed.
        """
        if self._experiment is None:
            return
        try:
            self.flush()
            if not self._timed:  # it ended early
                self.summarize({"seconds": round(self._seconds, 1)})
            if self.uploads and self.mode != "disabled":
                upload(self.experiment, self.folder, self._step)
            self.finalize("success" if exit_code == 0 else "failed")
        finally:
            self.experiment.finish(exit_code=exit_code)


def new_id() -> str:
    """An id for a W&B run."""
    return "".join(choice(ascii_lowercase + digits) for _ in range(8))


def _opened(logger: WandbRun) -> Any:
    """The logger's W&B run.

    Raises:
        UserError: If W&B has no key, is not reached, does not know the run, or refuses an argument.
    """
    import wandb
    from wandb.errors import Error

    here = "logger.wandb.mode=offline keeps the run here, for `wandb sync`"
    try:
        if not logger.continues:  # no steps: Lightning's would be 0 in each row
            logger._experiment = wandb.init(**logger._wandb_init)
        return logger.experiment
    except (Error, TypeError, ValueError) as error:
        said = shorten(str(error), 300)
        if "api key" in said.lower():
            fix = "run `wandb login`, or set WANDB_API_KEY"
            raise UserError(f"logger=wandb: W&B has no valid API key: {fix}; {here}") from error
        if logger.known and "resume" in said.lower():
            run = logger.known["id"]
            raise UserError(
                f"logger=wandb: W&B does not have the run {run} that {logger.folder} is: "
                f"send its first part with `wandb sync {logger.folder}/wandb/*run-*`; {here}"
            ) from error
        raise UserError(f"logger=wandb: {said}; {here}") from error


def close_quietly(logger: WandbRun, exit_code: int) -> None:
    """Close a run; what W&B then has against it is a warning, since the training is done."""
    try:
        logger.close(exit_code)
    except Exception as error:
        warn(f"W&B did not close its run: {shorten(str(error), 300)}")
