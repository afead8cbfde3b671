"""The parts of a run, from its config."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar
from pytorch_lightning.loggers import Logger

from ssl_zoo.callbacks import (
    Checkpoints,
    CleanFeatures,
    FiniteLoss,
    TrainMetrics,
    TrialReport,
)
from ssl_zoo.checkpoints import hints_of
from ssl_zoo.config import instantiate
from ssl_zoo.console import info
from ssl_zoo.data import DataModule
from ssl_zoo.distributed import is_main_process
from ssl_zoo.hardware import default_device, resolve_precision
from ssl_zoo.loggers import CSVLog
from ssl_zoo.methods import Method
from ssl_zoo.methods.checks import built
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.search import TrialLink
from ssl_zoo.training.checks import (
    check_kind,
    check_library,
    check_loss,
    check_norms,
    check_parts,
    check_small_views,
    check_views,
    check_wired,
    say_idle,
)
from ssl_zoo.training.init import with_init
from ssl_zoo.training.steps import count_steps
from ssl_zoo.training.tasks import cluster_plugins
from ssl_zoo.training.watched import Watched
from ssl_zoo.types import BadValue, Facts, UserError, first_line

# How Lightning refuses an argument, or the environment
REFUSALS = (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError)


def build_method(cfg: DictConfig, data: DataModule, init: str | None = None) -> Method:
    """The method of a config, given what only the data and the run know.

    Args:
        cfg: Resolved or not.
        data: What it is trained on.
        init: What its backbone starts from, as in `load_pretrained`.

    Raises:
        UserError: If its parts do not fit each other, the data or the devices.
    """
    check_library(cfg)
    hints = hints_of(cfg)
    if cfg.get("init") is None and str(hints):
        raise UserError(f"{hints} says what is in the file of init, which is null: give init=FILE")
    module = with_init(cfg.method.module, init, hints) if init else cfg.method.module
    # a partial, since Hydra itself would pass the facts on as a list
    make = instantiate(module, _partial_=True)
    check_wired(module)
    check_loss(cfg.method.module)
    check_parts(make.keywords, data.view_sizes[0])
    method: Method = built("method", make, facts=facts_of(cfg, data))
    check_kind(method)
    check_views(cfg, method, data)
    check_small_views(method, data.view_sizes)
    say_idle(cfg, method)
    check_norms(cfg, method)
    return method


def facts_of(cfg: DictConfig, data: DataModule) -> Facts:
    """The facts for a method: the size of the data, and how many steps the run has.

    Raises:
        UserError: Naming a limit that is invalid, or leaves nothing to train on.
    """
    trainer: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    try:
        steps_per_epoch, total_steps = count_steps(data.num_batches, trainer)
    except BadValue as error:
        raise UserError(error.named(f"trainer.{error.argument}")) from error
    if trainer["max_steps"] > total_steps > 0 and not trainer["fast_dev_run"]:
        info(
            f"epochs={cfg.epochs} ends the run after {total_steps} steps, before "
            f"trainer.max_steps={trainer['max_steps']}: raise epochs for more"
        )
    return Facts(data.num_images, data.num_train_classes, steps_per_epoch, total_steps)


def whole_length(cfg: DictConfig, data: DataModule) -> int:
    """Optimizer steps of the run as it is meant, also where only a few are tried."""
    trainer: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    return count_steps(data.num_batches, trainer | {"fast_dev_run": False})[1]


def build_loggers(cfg: DictConfig, folder: RunFolder) -> list[Logger]:
    """metrics.csv and what `logger=` names; none if a run is only tried out.

    On other ranks than 0 metrics.csv only, which is silent there: a logger need not know of ranks.
    """
    if cfg.trainer.fast_dev_run:
        return []
    if not is_main_process():
        return [CSVLog(folder)]
    chosen = [instantiate(node) for node in (cfg.get("logger") or {}).values()]
    return [CSVLog(folder), *chosen]


def build_callbacks(cfg: DictConfig, features: CleanFeatures, folder: RunFolder) -> list[Callback]:
    """The callbacks of the config, those that need clean features sharing them, and checkpoints."""
    made: dict[str, Callback] = {}
    for name, node in cfg.callbacks.items():
        if not isinstance(node, DictConfig):
            raise UserError(
                f"callbacks.{name}={node} is not a callback: its file needs an outer key, the "
                "callback's name, with _target_ below it"
            )
        callback = instantiate(node)
        if isinstance(callback, partial):
            callback = built(f"callbacks.{name}", callback, features)
        if not isinstance(callback, Callback):
            kind = type(callback).__name__
            raise UserError(f"callbacks.{name} is a {kind}, which is not a Lightning Callback")
        if isinstance(callback, ModelCheckpoint) and callback.filename in ("last", "best"):
            raise UserError(
                f"callbacks.{name}.filename={callback.filename}: that file is the run's own, give "
                "another name"
            )
        made[name] = callback
    watched = Watched(made, cfg.monitor.every_n_epochs, cfg.get("objective"))
    # those that stop a run look at what the others log; Lightning itself puts checkpoints last
    stoppers: list[Callback] = [c for c in made.values() if isinstance(c, EarlyStopping)]
    others = [callback for callback in made.values() if callback not in stoppers]
    if not cfg.trainer.enable_progress_bar:
        others = [c for c in others if not isinstance(c, ProgressBar)]
    callbacks = [FiniteLoss(), TrainMetrics(), *others, watched, *stoppers]
    if cfg.trainer.fast_dev_run:
        return callbacks
    if link := TrialLink.of(folder.path):  # the run is of a search
        callbacks.append(TrialReport(link, folder.path, cfg.monitor.every_n_epochs))
    return [*callbacks, Checkpoints(folder, cfg.save_every_n_minutes, cfg.get("objective"))]


def _blamed(cfg: DictConfig, text: str) -> str:
    """The key of conf/trainer that Lightning's text is about, with its value."""
    values = {name: value for name, value in cfg.trainer.items() if value is not None}
    named = [name for name in values if re.search(rf"\b{name}\b", text)]
    quoted = [n for n, value in values.items() if isinstance(value, str) and repr(value) in text]
    texts = [n for n, v in values.items() if isinstance(v, str) and re.search(rf"\b{v}\b", text)]
    found = [*named, *quoted, *texts]
    return next((f"trainer.{name}={values[name]}" for name in found), "trainer")


@contextmanager
def refusals() -> Iterator[None]:
    """What Lightning or its callbacks refuse, once they see the run, as errors of one line.

    Raises:
        UserError: With their text.
    """
    try:
        yield
    except (MisconfigurationException, ModuleNotFoundError) as error:
        raise UserError(first_line(error)) from error


def build_trainer(cfg: DictConfig, loggers: list[Logger], callbacks: list[Callback]) -> Trainer:
    """Lightning's trainer for this config.

    Raises:
        UserError: If Lightning refuses an argument, or batch norms cannot be synchronised.
    """
    make = instantiate(cfg.trainer)
    device = torch.device("cpu") if cfg.trainer.accelerator == "cpu" else default_device()
    try:
        trainer: Trainer = make(
            plugins=cluster_plugins(make.keywords["plugins"]),
            precision=resolve_precision(cfg.trainer.precision, device),
            logger=loggers,
            callbacks=callbacks,
            enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
            limit_val_batches=0,  # the monitors score val
            use_distributed_sampler=False,  # the loaders shard themselves
            overfit_batches=0,  # the data module repeats its batches, which Lightning cannot
        )
    except REFUSALS as error:
        text = first_line(error)
        raise UserError(f"{_blamed(cfg, text)}: {text}") from error
    if cfg.sync_batchnorm and isinstance(trainer.accelerator, CPUAccelerator):
        raise UserError("sync_batchnorm=true needs GPUs: torch's SyncBatchNorm refuses CPU tensors")
    return trainer
