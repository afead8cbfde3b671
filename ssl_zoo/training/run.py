"""One training run, from a composed config to a run folder."""

from __future__ import annotations

import gc
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.loggers import Logger
from torch import nn

from ssl_zoo.callbacks import Checkpoints, CleanFeatures, FiniteLoss, Interrupted
from ssl_zoo.config import instantiate, task_overrides, to_plain
from ssl_zoo.console import info, print_table, quiet_lightning
from ssl_zoo.data import DataModule
from ssl_zoo.distributed import is_main_process
from ssl_zoo.evaluation.features import Features
from ssl_zoo.figures import save_curves, save_map, save_views
from ssl_zoo.hardware import keep_freed_memory, resolve_precision
from ssl_zoo.methods import Method
from ssl_zoo.methods.checks import built
from ssl_zoo.modules import SplitBatchNorm
from ssl_zoo.modules.targets import check_splits
from ssl_zoo.run_folder import Result, read_result
from ssl_zoo.training import loggers as run_loggers
from ssl_zoo.training.init import with_init
from ssl_zoo.types import Facts, UserError

METRIC_LIBRARY = "pytorch_metric_learning"


def run(cfg: DictConfig) -> dict[str, float]:
    """Train, write the run folder, and return the last metrics.

    Args:
        cfg: As composed from conf/train.yaml; `resume` replaces it by the saved one.

    Raises:
        UserError: If the config or the data is bad.
        KeyboardInterrupt: After a clean stop by Ctrl-C.
    """
    quiet_lightning()
    keep_freed_memory()
    resume = Path(cfg.resume).expanduser() if cfg.resume else None
    config = saved_config(resume) if resume else to_plain(cfg)
    folder = Path(config["run_dir"])
    ended = read_result(folder)
    if resume and ended.get("status") == "finished":
        info(f"{folder} is finished: nothing is left to do")
        return dict(ended["metrics"])
    if resume is None:
        start_folder(config, folder)

    result = Result(folder, config, ended if resume else {})
    loggers: list[Logger] = []
    try:
        result.write("running")
        metrics = _train(config, folder, resume, loggers)
    except Interrupted as stop:
        run_loggers.finish(loggers, exit_code=128 + stop.signum)
        result.write("interrupted")
        info(f"{stop}; go on with: python train.py resume={folder}")
        if stop.signum == signal.SIGINT:
            raise KeyboardInterrupt from stop
        sys.exit(128 + stop.signum)
    except BaseException as error:
        run_loggers.finish(loggers, exit_code=1)
        result.write("failed", error=str(error))
        raise
    finally:
        release()
    run_loggers.finish(loggers, exit_code=0)
    result.write("finished", metrics)
    report(folder, metrics, result.seconds())
    return metrics


def saved_config(folder: Path) -> dict[str, Any]:
    """The config of a run that is to go on, its paths made those of the folder as it lies now.

    Raises:
        UserError: If there is none, or overrides stand beside `resume`.
    """
    if not (folder / "checkpoints" / "last.ckpt").is_file():
        raise UserError(f"resume={folder} holds no checkpoints/last.ckpt: give a run folder")
    others = [override for override in task_overrides() if not override.startswith("resume=")]
    if others:
        raise UserError(f"resume goes on with the run's own config: remove {', '.join(others)}")
    config: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    moved: dict[str, Any] = _moved(config, config["run_dir"], str(folder.resolve()))
    return moved


def _moved(node: Any, old: str, new: str) -> Any:
    """A config in which paths below `old` are below `new`."""
    if isinstance(node, dict):
        return {key: _moved(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, old, new) for value in node]
    if isinstance(node, str) and (node == old or node.startswith(f"{old}/")):
        return new + node[len(old) :]
    return node


def start_folder(config: dict[str, Any], folder: Path) -> None:
    """Make the run folder, with config.yaml: resolved, and the command line above it.

    Raises:
        UserError: If a run lies there already.
    """
    if not is_main_process():
        return
    if (folder / "checkpoints" / "last.ckpt").exists():
        raise UserError(
            f"{folder} holds a run: go on with resume={folder}, or choose another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").unlink(missing_ok=True)  # of a run that never saved
    header = f"# python train.py {' '.join(task_overrides())}\n"
    (folder / "config.yaml").write_text(header + yaml.safe_dump(config, sort_keys=False))


def _train(
    config: dict[str, Any], folder: Path, resume: Path | None, loggers: list[Logger]
) -> dict[str, float]:
    """Build the parts, fit, draw the figures. Appends to `loggers`, which the caller closes."""
    cfg = OmegaConf.create(config)
    loggers += build_loggers(cfg, folder)  # first, so that they show a failure of what follows
    run_loggers.start(loggers, config)
    seed_everything(config["seed"], workers=False, verbose=False)
    data: DataModule = instantiate(cfg.data)
    method: Method = build_method(cfg, data, init=None if resume else cfg.get("init"))
    seen = data.class_names[: data.num_train_classes]
    extras = {"config": config, "preprocess": data.options(), "train_classes": seen}
    method.checkpoint_extras = extras
    if any(isinstance(m, nn.Conv2d) for m in method.modules()):
        method = method.to(memory_format=torch.channels_last)
    if config["compile"]:
        method.encoder.compile()  # monitors call the backbone itself, which stays as it is

    features = CleanFeatures(config["monitor"]["bank_size"])
    callbacks = build_callbacks(cfg, features, folder)
    trainer = build_trainer(cfg, config, loggers, callbacks)
    run_loggers.log_figures(loggers, save_first_views(data, folder))
    checkpoint = str(resume / "checkpoints" / "last.ckpt") if resume else None
    trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True)

    run_loggers.log_figures(loggers, save_last_figures(data, folder, features.latest_val))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def build_method(cfg: DictConfig, data: DataModule, init: str | None = None) -> Method:
    """The method of a config, told what only the data knows; `init` starts its backbone."""
    check_library(cfg)
    module = with_init(cfg.method.module, init) if init else cfg.method.module
    facts = Facts(
        num_images=data.num_images,
        num_classes=data.num_train_classes,
        steps_per_epoch=data.steps_per_epoch,
        total_steps=data.steps_per_epoch * cfg.epochs,
    )
    # a partial, since Hydra itself would hand the facts on as a list
    method: Method = built("method", instantiate(module, _partial_=True), facts=facts)
    check_views(method, data)
    if cfg.sync_batchnorm and any(isinstance(m, SplitBatchNorm) for m in method.modules()):
        raise UserError(
            "sync_batchnorm=true joins the norms that shuffle_bn keeps apart: set "
            "method.target.num_splits=1 or method/target=momentum"
        )
    devices = cfg.devices if isinstance(cfg.devices, int) else 1
    check_splits(method, cfg.batch_size, cfg.accumulate * devices * cfg.num_nodes)
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


def check_views(method: Method, data: DataModule) -> None:
    """Refuse a recipe that makes another number of views than the method takes.

    Raises:
        UserError: Naming it, and a number that the method takes.
    """
    made = data.augmentation.num_views
    if not method.takes_views(made):
        taken = next(n for n in range(1, 100) if method.takes_views(n))
        raise UserError(
            f"augmentation.num_views={made}, but {type(method).__name__} takes {taken}: "
            f"set augmentation.num_views={taken}"
        )


def build_loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    """metrics.csv and what `logger=` names."""
    chosen = instantiate(cfg.logger) if "_target_" in cfg.logger else None
    return [run_loggers.CSVLog(folder), *([chosen] if chosen is not None else [])]


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


def save_first_views(data: DataModule, folder: Path) -> dict[str, Path]:
    """The first batch's images and views as a picture."""
    if not is_main_process():
        return {}
    raw = next(iter(data.train_dataloader()))
    batch = data.transfer_batch_to_device(raw, torch.device("cpu"), 0)
    images = raw.images if isinstance(raw.images, torch.Tensor) else torch.empty(0)
    mean, std = data.preprocess.mean, data.preprocess.std
    path = folder / "figures" / "views.png"
    return {"views": save_views(images, batch.views, mean, std, path)}


def save_last_figures(data: DataModule, folder: Path, val: Features | None) -> dict[str, Path]:
    """The curves, and a map of the validation features where a monitor made them."""
    if not is_main_process():
        return {}
    curves = run_loggers.read_metrics(folder / "metrics.csv")
    figures = {"curves": save_curves(curves, folder / "figures" / "curves.png")}
    if val is not None and len(val.label) > 3:
        figures["map"] = save_map(*val, data.class_names, folder / "figures" / "map.png")
    return figures


def report(folder: Path, metrics: dict[str, float], seconds: float) -> None:
    """A short table and where the run lies."""
    names = [
        "val/knn_top1",
        "val/probe_top1",
        "val/map_at_r",
        "val/precision_at_1",
        "train/loss",
        "collapse/std",
        "collapse/effective_rank",
    ]
    rows = [
        [name, f"{100 * metrics[name]:.1f}%" if name[:3] == "val" else f"{metrics[name]:.3f}"]
        for name in names
        if name in metrics
    ]
    print_table(f"{seconds / 60:.1f} minutes", ["metric", "last"], rows)
    if is_main_process():
        print(f"run folder: {folder}")
        if "val/knn_top1" in metrics:
            print(f"evaluate:   python evaluate.py ckpt={folder} protocol=linear")
        if "val/map_at_r" in metrics:
            print(f"evaluate:   python evaluate.py ckpt={folder} protocol=retrieval")


def release() -> None:
    """Give back what the next run of this process must not inherit."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
