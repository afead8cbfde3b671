"""A run's loggers together: opened, written to with one set of axes, and closed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers import Logger, TensorBoardLogger

from ssl_zoo.evaluation.features import Features
from ssl_zoo.loggers.tensorboard import add_picture
from ssl_zoo.loggers.wandb import WandbRun, close_quietly
from ssl_zoo.loggers.wandb_media import embedding_table
from ssl_zoo.loggers.wandb_models import used
from ssl_zoo.metric_names import EPOCH, IMAGES_SEEN, WALL_SECONDS


class Rhythm(Protocol):
    """How the steps of a run lie in its epochs."""

    def epoch(self, step: int) -> int:
        """The epoch of a step."""

    def images_seen(self, step: int) -> int:
        """Images up to the end of a step."""


def start(loggers: Sequence[Logger], config: Mapping[str, Any], **facts: Any) -> None:
    """Open W&B's run, and hand the config to the loggers.

    Args:
        loggers: Of the run.
        config: Flat, each value once.
        **facts: What W&B's run shall know of later, kept in the run folder.
    """
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.open()
            logger.show_config(config)
            logger.say(**facts, log_model=bool(logger.uploads))
            if config.get("init"):
                used(logger.experiment, logger.mode, str(config["init"]))
        else:
            logger.log_hyperparams(dict(config))


def count_images(loggers: Sequence[Logger], rhythm: Rhythm, seconds: Callable[[], float]) -> None:
    """From now on each row says its epoch, the images that were seen, and the time.

    Args:
        loggers: Of any kind; Lightning, the monitors and own parts all write through them.
        rhythm: Of the run.
        seconds: Of the run so far; asked once a step, so that all rows of a step say the same.
    """
    times: dict[int, float] = {}

    def place(step: int) -> dict[str, float]:
        if step not in times:
            times.clear()
            times[step] = seconds()
        epoch, images = rhythm.epoch(step), rhythm.images_seen(step)
        return {EPOCH: epoch, IMAGES_SEEN: images, WALL_SECONDS: times[step]}

    for logger in loggers:
        logger.log_metrics = partial(_placed, logger.log_metrics, place)  # type: ignore[method-assign]


def _placed(
    log_metrics: Callable[..., None],
    place: Callable[[int], dict[str, float]],
    metrics: dict[str, float],
    step: int | None = None,
) -> None:
    log_metrics(metrics if step is None else {**metrics, **place(step)}, step)


def log_figures(loggers: Sequence[Logger], figures: Mapping[str, Path], step: int) -> None:
    """Send the run's figures as images, at a step."""
    for logger in loggers:
        for name, path in figures.items():
            if isinstance(logger, WandbRun):
                logger.log_image(f"figures/{name}", [str(path)], step=step)
            elif isinstance(logger, TensorBoardLogger):
                add_picture(logger, f"figures/{name}", path, step)


def log_embeddings(
    loggers: Sequence[Logger], features: Features | None, class_names: Sequence[str], step: int
) -> None:
    """Send features of val as a table that W&B's projector shows, at a step."""
    for logger in loggers:
        if isinstance(logger, WandbRun) and features is not None and len(features.label) > 3:
            table = embedding_table(features, class_names)
            logger.log_metrics({"embedding": table}, step)


def log_summary(loggers: Sequence[Logger], values: Mapping[str, Any]) -> None:
    """Send values of the run as a whole."""
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.summarize(values)


@contextmanager
def closed_at_end() -> Iterator[list[Logger]]:
    """A list for a run's loggers; what it holds at the end is closed, with how the run ended."""
    loggers: list[Logger] = []
    try:
        yield loggers
    except BaseException as error:
        _finish(loggers, exit_code(error))
        raise
    _finish(loggers, 0)


def exit_code(error: BaseException) -> int:
    """Of a process that this ends: 128 + the signal, where it was one."""
    if signum := getattr(error, "signum", None):  # Interrupted
        return 128 + int(signum)
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return 128 + signal.SIGINT
    code = getattr(error, "code", None)  # of SystemExit
    return code if isinstance(code, int) and code else 1


def _finish(loggers: Sequence[Logger], code: int) -> None:
    """Close the loggers, so that the next run of this process has its own."""
    for logger in loggers:
        if isinstance(logger, WandbRun):
            close_quietly(logger, code)
        else:
            logger.finalize("success" if code == 0 else "failed")
