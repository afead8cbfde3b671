"""A run that goes on: with which config and images, and from where; before anything is written."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import LambdaLR

from ssl_zoo.checkpoints import read_resumable
from ssl_zoo.config import (
    RUN_PACKAGES,
    changed_config,
    check_targets,
    differences,
    instantiate,
    naming_knobs,
    task_overrides,
)
from ssl_zoo.console import info
from ssl_zoo.data import DataModule
from ssl_zoo.data.fingerprint import is_other_data, split_changes
from ssl_zoo.ramps import half_cosine
from ssl_zoo.run_folder import ENDED, RunFolder, moved
from ssl_zoo.training.steps import count_steps
from ssl_zoo.types import UserError

_ABSENT = object()


@dataclass
class Resumed:
    """A run that goes on.

    Attributes:
        folder: Where it lies now.
        config: Its own, with the changes.
        wiring: As saved, see `wiring_of`.
        earlier: Its result.json.
        changes: Overrides that were given.
        metrics: Its last ones, if nothing is left to train; else None.
        collapsed: How its embeddings had collapsed by then; "" if they had not.
        data: Its images, None if nothing is left to train.
        new_schedule: Whether its schedule has another length now.
        step: Optimizer steps done.
    """

    folder: RunFolder
    config: dict[str, Any]
    wiring: dict[str, str] | None
    earlier: dict[str, Any]
    changes: list[str]
    metrics: dict[str, float] | None = None
    collapsed: str = ""
    data: DataModule | None = None
    new_schedule: bool = False
    step: int = 0


def resumed(folder: RunFolder, changes: Sequence[str]) -> Resumed:
    """What goes on, checked and said in a few lines; nothing is written.

    Args:
        folder: The run's.
        changes: Overrides of what may change.

    Raises:
        UserError: If there is no checkpoint, another override is given, or the images are not
            those that the run was trained on.
    """
    content = read_resumable(folder.last)
    saved = content["ssl_zoo"]
    here = str(folder.path.resolve())
    old = moved(saved["config"], saved["config"].get("run_dir", here), here)
    config = folder.read_config() if folder.config.is_file() else old
    check_targets(config, RUN_PACKAGES)
    config = changed_config(config, changes, saved.get("wiring"))
    folder = RunFolder(config["run_dir"])
    earlier = folder.read_result()
    again = Resumed(folder, config, saved.get("wiring"), earlier, list(changes))
    again.step = int(content["global_step"])
    longer = config["epochs"] > old.get("epochs", 0)
    if earlier.get("status") in ENDED and not longer:
        unused = f", {' '.join(changes)} changes nothing" if changes else ""
        info(f"{folder} is finished: nothing left to do{unused}")
        again.metrics = dict(earlier["metrics"])
        return again
    reached = saved.get("reached", {})
    if reached.get("ended") and not longer:
        info(f"{folder} had ended at step {content['global_step']}: its report is all that is left")
        again.metrics, again.collapsed = dict(reached["metrics"]), reached.get("collapsed", "")
        return again
    with _kept(folder.skipped), naming_knobs(_as_wired(again), task_overrides()):
        again.data = instantiate(OmegaConf.create(config).data)
        _check_split(again, saved)
        _say_where(again, content, old)
    return again


def _as_wired(again: Resumed) -> DictConfig:
    """The config with its interpolations, so that an error names the knob that may change."""
    cfg = OmegaConf.create(again.config)
    for place, text in (again.wiring or {}).items():
        if OmegaConf.select(cfg, place, default=_ABSENT) is not _ABSENT:
            OmegaConf.update(cfg, place, text, merge=False)
    return cfg


@contextmanager
def _kept(file: Path) -> Iterator[None]:
    """What reading the images writes into a file is taken back if the run does not go on."""
    before = file.read_bytes() if file.is_file() else None
    try:
        yield
    except BaseException:
        if before is not None:
            file.write_bytes(before)
        raise


def _check_split(again: Resumed, saved: dict[str, Any]) -> None:
    """Say how the images differ from those that the run was trained on.

    Raises:
        UserError: If it cannot go on exactly with these.
    """
    assert again.data is not None
    folder, old, new = again.folder, saved.get("split"), again.data.fingerprint
    if old is None:
        info(f"{folder} is of an earlier version, which did not save its split: not compared")
        return
    changes = split_changes(old, new)
    changes += _input_changes(saved["preprocess"], again.data.options())
    if is_other_data(old, new):
        raise UserError(
            f"{folder} cannot go on: {'; '.join(changes)}; steps per epoch, a memory bank and "
            "labels depend on them: restore the images, give dataset.root=DIR where they are, or "
            f"start a new run from its weights with init={folder}"
        )
    if changes:
        info(f"{folder} goes on, but not exactly: {'; '.join(changes)}")


def _input_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs in how images are prepared, which may follow from the images themselves."""
    size = "image_size"
    if old[size] != new[size]:
        return [f"the images are {new[size]} pixels wide (were {old[size]})"]
    return ["the images' mean and std differ"] if old != new else []


def _say_where(again: Resumed, content: dict[str, Any], old: dict[str, Any]) -> None:
    """Say at which epoch and step the run goes on, and what differs; see to a longer schedule.

    Raises:
        UserError: If it has gone on for longer than it now shall.
    """
    assert again.data is not None
    config, step = again.config, int(content["global_step"])
    per_epoch, total = count_steps(again.data.num_batches, config["trainer"])
    epochs, done = config["epochs"], step // per_epoch
    other_length = epochs != old.get("epochs", epochs)
    if other_length and step >= total:
        limit = config["trainer"]["max_steps"]
        if total == limit:
            raise UserError(f"epochs={epochs}: trainer.max_steps={limit} has ended the run already")
        raise UserError(f"epochs={epochs}: the run has done {done}: give {done + 1} or more")
    if changed := differences(old, config, again.wiring or {}):
        info(f"{again.folder} goes on with {', '.join(changed)}")
    if other_length:
        info(_schedule_line(config, content, step, total))
        again.new_schedule = True
    info(f"{again.folder} goes on at epoch {done + 1} of {epochs}, step {step} of {total}")


def _schedule_line(config: dict[str, Any], content: dict[str, Any], step: int, total: int) -> str:
    """What another number of epochs does to the schedule."""
    what = f"epochs={config['epochs']}: the schedule is now that of a run of this length"
    if (momentum := _momentum(config, step / total)) is not None:
        what += f", the target's momentum goes on at {momentum:.4g}"
    groups = content["optimizer_states"][0]["param_groups"]
    moving = [group for group in groups if not group.get("constant_lr")]
    if not moving:
        return what
    before, now = moving[0]["lr"], _rate(config, moving[0]["initial_lr"], step, total)
    if now is None:
        return what
    return f"{what}, the learning rate goes on at {now:.3g} (was {before:.3g})"


def _momentum(config: dict[str, Any], progress: float) -> float | None:
    """That of the target at a point of the run; None where it does not move."""
    target = config["method"].get("target") or {}
    target = target.get("target", target)  # behind shuffled norms
    first, last = target.get("momentum"), target.get("final_momentum")
    return None if None in (first, last) else half_cosine(first, last, progress)


def _rate(config: dict[str, Any], peak: float, step: int, total: int) -> float | None:
    """The rate of a step by the run's schedule; None where that is not a function of the step."""
    node = OmegaConf.create(config).method.module.scheduler
    probe = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    schedule = instantiate(node)(probe, total_steps=total)
    if not isinstance(schedule, LambdaLR):
        return None
    return peak * float(schedule.lr_lambdas[0](step))


class NewSchedule(Callback):
    """The first step after the resume has the new schedule's rate, not the saved one."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for config in trainer.lr_scheduler_configs:
            schedule = config.scheduler
            if isinstance(schedule, LambdaLR):  # a function of the step: it may be taken again
                schedule.last_epoch -= 1
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # no optimizer step came before
                    schedule.step()
