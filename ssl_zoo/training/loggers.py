"""Where figures and numbers go: metrics.csv always, W&B and TensorBoard on request."""

from __future__ import annotations

import os
import socket
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import matplotlib.image
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from ssl_zoo.callbacks import Interrupted
from ssl_zoo.config import flatten
from ssl_zoo.console import info
from ssl_zoo.metric_names import EPOCH, IMAGES_SEEN, OBJECTIVES
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.steps import Rhythm
from ssl_zoo.types import BadValue, UserError

_WANDB_MODES = ("auto", "online", "offline", "disabled")


class CSVLog(Logger):
    """Appends a row for each metric to metrics.csv; a resumed run goes on in the same file.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder

    @property
    def name(self) -> str:
        return ""  # ModelCheckpoint's folder is then ours: run_dir/NAME/VERSION/checkpoints

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """The run folder holds the config already."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        place = {name: metrics[name] for name in (EPOCH, IMAGES_SEEN) if name in metrics}
        rows = {name: value for name, value in metrics.items() if name not in place}
        self.folder.append_metrics(step, rows, **{k: int(value) for k, value in place.items()})


def _wandb_reachable() -> bool:
    """Whether W&B's server answers within two seconds."""
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    name, _, port = host.partition(":")
    try:
        socket.create_connection((name, int(port or 443)), timeout=2).close()
    except OSError:
        return False
    return True


def wandb_logger(
    folder: str,
    project: str,
    name: str,
    group: str | None = None,
    mode: str = "auto",
    entity: str | None = None,
    tags: str | Sequence[str] | None = None,
    notes: str | None = None,
    **options: Any,
) -> WandbLogger:
    """A W&B run of its own for this run; offline where there is no network.

    Args:
        folder: Where W&B writes.
        project: W&B's project.
        name: The run's name.
        group: The sweep that it belongs to.
        mode: auto, online, offline or disabled; WANDB_MODE, where set, goes before auto.
        entity: The team or user that the project is of; None = as W&B is set up.
        tags: Of the run.
        notes: Of the run.
        **options: Further arguments of Lightning's WandbLogger and of wandb.init.

    Raises:
        BadValue: If the mode is unknown, or a text or tag is not valid.
    """
    if group is not None:
        name = f"{name}-{Path(folder).name}"  # a sweep's jobs by their number
    texts = {"project": project, "name": name, "group": group, "entity": entity, "notes": notes}
    return WandbLogger(
        **{argument: _text(argument, value) for argument, value in texts.items()},  # type: ignore[arg-type]
        tags=_tags(tags),
        save_dir=folder,
        # wandb's own: Lightning's `offline` changes the environment of the runs after this
        mode=_wandb_mode(mode),
        **{"job_type": "train"} | options,
    )


def _wandb_mode(mode: str) -> str:
    if mode not in _WANDB_MODES:
        raise BadValue("mode", mode, f"one of {', '.join(_WANDB_MODES)}")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _wandb_reachable() else "offline")
    if mode == "offline":
        info("W&B is offline: `wandb sync` sends the run later")
    return mode


def _text(argument: str, value: object) -> str | None:
    """A number too, since name=123 is one to Hydra."""
    if value is None:
        return None
    if not isinstance(value, str | int | float):
        raise BadValue(argument, value, "a text")
    return str(value)


def _tags(tags: str | Sequence[Any] | None) -> list[str] | None:
    if tags is None:
        return None
    listed = [tags] if isinstance(tags, str | int | float) else list(tags)
    if not all(isinstance(tag, str | int | float) and 1 <= len(str(tag)) <= 64 for tag in listed):
        raise BadValue("tags", tags, "texts of 1 to 64 characters, as in [a,b]")
    return [str(tag) for tag in listed]


def tensorboard_logger(folder: str) -> TensorBoardLogger:
    """TensorBoard's files in the run folder."""
    return TensorBoardLogger(save_dir=folder, name="tensorboard", version="")


def _opened(logger: WandbLogger) -> Any:
    """The logger's W&B run.

    Raises:
        UserError: If W&B has no key, is not reached, or refuses an argument.
    """
    from wandb.errors import Error

    here = "logger.wandb.mode=offline keeps the run here, for `wandb sync`"
    try:
        return logger.experiment
    except (Error, TypeError, ValueError) as error:
        text = shorten(str(error), 300)
        if "api key" in text.lower():
            fix = "run `wandb login`, or set WANDB_API_KEY"
            raise UserError(f"logger=wandb: W&B has no valid API key: {fix}; {here}") from error
        raise UserError(f"logger=wandb: {text}; {here}") from error


def start(loggers: list[Logger], config: dict[str, Any]) -> None:
    """Hand the resolved config, flattened by dots, to the loggers."""
    flat = flatten(config)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run = _opened(logger)
            run.config.update(flat, allow_val_change=True)
            run.define_metric("trainer/global_step")
            for metric in OBJECTIVES:
                step = "trainer/global_step"
                run.define_metric(metric.name, step_metric=step, summary=metric.objective)
        else:
            logger.log_hyperparams(flat)


def count_images(loggers: list[Logger], rhythm: Rhythm) -> None:
    """From now on each row of these loggers says its epoch, and how many images were seen.

    Args:
        loggers: Of any kind; Lightning, the monitors and own parts all write through them.
        rhythm: Of the run.
    """
    for logger in loggers:
        logger.log_metrics = partial(_counted, logger.log_metrics, rhythm)  # type: ignore[method-assign]


def _counted(
    log_metrics: Callable[..., None],
    rhythm: Rhythm,
    metrics: dict[str, float],
    step: int | None = None,
) -> None:
    if step is not None:
        metrics = {**metrics, EPOCH: rhythm.epoch(step), IMAGES_SEEN: rhythm.images_seen(step)}
    log_metrics(metrics, step)


def log_figures(loggers: list[Logger], figures: dict[str, Path]) -> None:
    """Send the run's figures as images."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            for name, path in figures.items():
                logger.log_image(f"figures/{name}", [str(path)])
        elif isinstance(logger, TensorBoardLogger):
            for name, path in figures.items():
                image = matplotlib.image.imread(path)[..., :3]
                logger.experiment.add_image(f"figures/{name}", image, dataformats="HWC")


@contextmanager
def closed_at_end() -> Iterator[list[Logger]]:
    """A list for a run's loggers; what it holds at the end is closed, with how the run ended."""
    loggers: list[Logger] = []
    try:
        yield loggers
    except BaseException as error:
        finish(loggers, 128 + error.signum if isinstance(error, Interrupted) else 1)
        raise
    finish(loggers, 0)


def finish(loggers: list[Logger], exit_code: int) -> None:
    """Close the loggers, so that the next run of this process has its own."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and logger._experiment is not None:
            logger.experiment.finish(exit_code=exit_code)
        else:
            logger.finalize("success" if exit_code == 0 else "failed")
