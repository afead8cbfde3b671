"""The parts of a run, from its config."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.loggers import Logger

from ssl_zoo.callbacks import Checkpoints, CleanFeatures, FiniteLoss
from ssl_zoo.config import instantiate
from ssl_zoo.data import DataModule
from ssl_zoo.hardware import resolve_precision
from ssl_zoo.methods import Method
from ssl_zoo.modules import SplitBatchNorm
from ssl_zoo.training.init import with_init
from ssl_zoo.training.loggers import CSVLog
from ssl_zoo.types import UserError

METRIC_LIBRARY = "pytorch_metric_learning"


def build_method(cfg: DictConfig, data: DataModule, init: str | None = None) -> Method:
    """The method of a config, told what only the data knows; `init` starts its backbone."""
    check_library(cfg)
    check_numbers(cfg)
    module = with_init(cfg.method.module, init) if init else cfg.method.module
    method: Method = instantiate(
        module,
        num_images=data.num_images,
        steps_per_epoch=data.steps_per_epoch,
        num_classes=data.num_train_classes,
    )
    check_views(method, data)
    if cfg.sync_batchnorm and any(isinstance(m, SplitBatchNorm) for m in method.modules()):
        raise UserError(
            "sync_batchnorm=true joins the norms that shuffle_bn keeps apart: set "
            "method.target.num_splits=1 or method/target=momentum"
        )
    check_splits(cfg, method)
    return method


def check_library(cfg: DictConfig) -> None:
    """Refuse parts of pytorch-metric-learning where it is not installed.

    Raises:
        UserError: Naming the extra.
    """
    named = f"{METRIC_LIBRARY}." in str(OmegaConf.to_container(cfg.method))
    if named and find_spec(METRIC_LIBRARY) is None:
        raise UserError(
            "method=metric_learning takes its losses from pytorch-metric-learning, which is not "
            'installed: pip install "ssl_zoo[metric]"'
        )


def check_numbers(cfg: DictConfig) -> None:
    """Refuse a text where a loss or miner of pytorch-metric-learning computes with a number.

    Raises:
        UserError: Naming the knob.
    """
    for slot in ("metric_loss", "miner"):
        for key, value in (cfg.method.get(slot) or {}).items():
            if isinstance(value, str) and not key.startswith("_") and "strategy" not in key:
                raise UserError(f"method.{slot}.{key}={value}: give a number")


def check_views(method: Method, data: DataModule) -> None:
    """Refuse a recipe that makes another number of views than the method takes.

    Raises:
        UserError: Naming both.
    """
    made, taken = data.augmentation.num_views, method.num_views
    if made != taken:
        name = type(method).__name__
        raise UserError(f"augmentation.num_views={made}, but {name} takes {taken}: set it so")


def check_splits(cfg: DictConfig, method: Method) -> None:
    """Refuse split norms that a process's micro-batch does not fill with two rows each.

    Raises:
        UserError: Naming the batch and the parts.
    """
    splits = max(
        (m.num_splits for m in method.modules() if isinstance(m, SplitBatchNorm)), default=1
    )
    devices = cfg.devices if isinstance(cfg.devices, int) else 1
    rows = cfg.batch_size // (cfg.accumulate * devices * cfg.num_nodes)
    if splits > 1 and rows and (rows % splits or rows < 2 * splits):
        raise UserError(
            f"method.target.num_splits={splits} does not divide the {rows} images that batch_size="
            f"{cfg.batch_size} gives each device and micro-batch into parts of two or more: change "
            "either, or take method/target=momentum"
        )


def build_loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    """metrics.csv and what `logger=` names."""
    chosen = instantiate(cfg.logger) if "_target_" in cfg.logger else None
    return [CSVLog(folder), *([chosen] if chosen is not None else [])]


def build_callbacks(cfg: DictConfig, features: CleanFeatures, folder: Path) -> list[Callback]:
    """The callbacks of the config, those that need clean features sharing them, and checkpoints."""
    callbacks: list[Callback] = [FiniteLoss()]
    for node in cfg.callbacks.values():
        callback = instantiate(node)
        callbacks.append(callback if isinstance(callback, Callback) else callback(features))
    checkpoints = Checkpoints(str(folder / "checkpoints"), cfg.save_every_n_minutes)
    return [*callbacks, checkpoints]


def build_trainer(
    cfg: DictConfig, config: dict[str, Any], loggers: list[Logger], callbacks: list[Callback]
) -> Trainer:
    """Lightning's trainer for this config.

    Raises:
        UserError: If batch norms cannot be synchronised.
    """
    trainer = Trainer(
        max_epochs=config["epochs"],
        accumulate_grad_batches=config["accumulate"],
        gradient_clip_val=config["clip_norm"],
        precision=resolve_precision(config["precision"]),  # type: ignore[arg-type]
        devices=config["devices"],
        num_nodes=config["num_nodes"],
        strategy=instantiate(cfg.strategy),
        logger=loggers,
        callbacks=callbacks,
        log_every_n_steps=config["log_every_n_steps"],
        limit_val_batches=0,  # the monitors score val, each epoch once
        use_distributed_sampler=False,  # the loaders shard themselves
        enable_model_summary=False,
        enable_progress_bar=any(type(c).__name__ == "Progress" for c in callbacks),
        sync_batchnorm=config["sync_batchnorm"],
    )
    if config["sync_batchnorm"] and isinstance(trainer.accelerator, CPUAccelerator):
        raise UserError("sync_batchnorm=true needs GPUs: torch's SyncBatchNorm refuses CPU tensors")
    return trainer
