"""The parts of a run, from its config."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar
from pytorch_lightning.loggers import Logger

from ssl_zoo.callbacks import Checkpoints, CleanFeatures, FiniteLoss
from ssl_zoo.config import instantiate
from ssl_zoo.console import info
from ssl_zoo.data import DataModule
from ssl_zoo.extras import need
from ssl_zoo.hardware import resolve_precision
from ssl_zoo.methods import Method
from ssl_zoo.methods.checks import built
from ssl_zoo.modules import Encoder, SplitBatchNorm
from ssl_zoo.modules.contract import check_backbone, check_head
from ssl_zoo.modules.targets import check_splits
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.init import with_init
from ssl_zoo.training.loggers import CSVLog
from ssl_zoo.training.steps import count_steps
from ssl_zoo.training.watched import Watched
from ssl_zoo.types import BadValue, Facts, UserError, first_line

METRIC_LIBRARY = "pytorch_metric_learning"


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
    module = with_init(cfg.method.module, init) if init else cfg.method.module
    # a partial, since Hydra itself would pass the facts on as a list
    make = instantiate(module, _partial_=True)
    check_wired(module)
    method: Method = _with_widths(make, facts_of(cfg, data))
    check_parts(method, data)
    check_views(cfg, method, data)
    check_norms(cfg, method)
    return method


def check_wired(module: DictConfig) -> None:
    """Refuse a method's config without an optimizer or schedule, or whose backbone is no part.

    Raises:
        UserError: Naming the line to add.
    """
    if "_target_" not in module.get("backbone", {"_target_": ""}):
        raise UserError("backbone has no _target_: name the class or function in its YAML")
    for name, line in (("optimizer", "${optimizer.module}"), ("scheduler", "${scheduler}")):
        if name not in module:
            raise UserError(f"method.module has no {name}: add `{name}: {line}` to its YAML")


def _with_widths(make: Callable[..., Any], facts: Facts) -> Any:
    """The method; a backbone or head without its width is refused by name."""
    try:
        return built("method", make, facts=facts)
    except AttributeError as error:
        lacking = re.search(r"'(\w+)' object has no attribute '(num_features|out_dim)'", str(error))
        if lacking is None:
            raise
        raise UserError(
            f"{lacking[1]} has no {lacking[2]}: set it to the width of its output, an int"
        ) from error


def check_parts(method: Method, data: DataModule) -> None:
    """Refuse a method, or parts of it, that do not keep their contract.

    Raises:
        UserError: Naming what does not hold.
    """
    if not isinstance(method, Method):
        name = type(method).__name__
        raise UserError(f"method.module is a {name}, which is not an ssl_zoo.methods.Method")
    if not isinstance(getattr(method, "encoder", None), Encoder):
        raise UserError(
            f"{type(method).__name__}.encoder is not an ssl_zoo.modules.Encoder: set it to "
            "Encoder(backbone, projector(in_dim=backbone.num_features))"
        )
    backbone, projector = method.encoder.backbone, method.encoder.projector
    check_backbone(backbone, data.augmentation.size)
    check_head(projector, method.num_features, "projector")


def check_norms(cfg: DictConfig, method: Method) -> None:
    """Refuse split norms that the batch does not fill, or that would be synchronised.

    Raises:
        UserError: Naming what to change.
    """
    if cfg.sync_batchnorm and any(isinstance(m, SplitBatchNorm) for m in method.modules()):
        raise UserError(
            "sync_batchnorm=true joins the norms that shuffle_bn keeps separate: set "
            "method.target.num_splits=1 or method/target=momentum"
        )
    devices = cfg.devices if isinstance(cfg.devices, int) else 1
    try:
        check_splits(method, cfg.batch_size, cfg.accumulate * devices * cfg.num_nodes)
    except BadValue as error:
        raise UserError(error.named("method.target.num_splits")) from error


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


def check_library(cfg: DictConfig) -> None:
    """Refuse parts of pytorch-metric-learning where it is not installed.

    Raises:
        UserError: Naming the extra.
    """
    if f"{METRIC_LIBRARY}." in str(OmegaConf.to_container(cfg.method)):
        need("method=metric_learning", METRIC_LIBRARY)


def check_views(cfg: DictConfig, method: Method, data: DataModule) -> None:
    """Refuse a recipe that makes a different number of views than the method takes.

    Raises:
        UserError: Naming it, and a number that the method takes.
    """
    made = data.num_views
    if not method.takes_views(made):
        taken = next(n for n in range(1, 100) if method.takes_views(n))
        name = type(method).__name__
        if cfg.augmentation.get("views"):
            raise UserError(
                f"augmentation.views makes {made} views, but {name} takes {taken}: give entries "
                f"whose counts add up to {taken}"
            )
        raise UserError(
            f"augmentation.num_views={made}, but {name} takes {taken}: "
            f"set augmentation.num_views={taken}"
        )


def build_loggers(cfg: DictConfig, folder: RunFolder) -> list[Logger]:
    """metrics.csv and what `logger=` names; none if a run is only tried out."""
    if cfg.trainer.fast_dev_run:
        return []
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
    watched = Watched(made, cfg.monitor.every_n_epochs)
    # those that stop a run look at what the others log; Lightning itself puts checkpoints last
    stoppers: list[Callback] = [c for c in made.values() if isinstance(c, EarlyStopping)]
    others = [callback for callback in made.values() if callback not in stoppers]
    if not cfg.trainer.enable_progress_bar:
        others = [c for c in others if not isinstance(c, ProgressBar)]
    callbacks = [FiniteLoss(), *others, watched, *stoppers]
    if cfg.trainer.fast_dev_run:
        return callbacks
    return [*callbacks, Checkpoints(folder, cfg.save_every_n_minutes)]


def _blamed(cfg: DictConfig, text: str) -> str:
    """The key of conf/trainer that Lightning's text is about, with its value."""
    values = {name: value for name, value in cfg.trainer.items() if value is not None}
    named = [name for name in values if re.search(rf"\b{name}\b", text)]
    quoted = [n for n, value in values.items() if isinstance(value, str) and repr(value) in text]
    return next((f"trainer.{name}={values[name]}" for name in [*named, *quoted]), "trainer")


def build_trainer(cfg: DictConfig, loggers: list[Logger], callbacks: list[Callback]) -> Trainer:
    """Lightning's trainer for this config.

    Raises:
        UserError: If Lightning refuses an argument, or batch norms cannot be synchronised.
    """
    make = instantiate(cfg.trainer)
    try:
        trainer: Trainer = make(
            precision=resolve_precision(cfg.trainer.precision),
            logger=loggers,
            callbacks=callbacks,
            enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
            limit_val_batches=0,  # the monitors score val
            use_distributed_sampler=False,  # the loaders shard themselves
            overfit_batches=0,  # the data module repeats its batches, which Lightning cannot
        )
    except (MisconfigurationException, ImportError, TypeError, ValueError) as error:
        text = first_line(error)
        raise UserError(f"{_blamed(cfg, text)}: {text}") from error
    if cfg.sync_batchnorm and isinstance(trainer.accelerator, CPUAccelerator):
        raise UserError("sync_batchnorm=true needs GPUs: torch's SyncBatchNorm refuses CPU tensors")
    return trainer
