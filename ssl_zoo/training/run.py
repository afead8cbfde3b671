"""One training run, from a composed config to a run folder."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import Logger
from torch import nn

from ssl_zoo.callbacks import CleanFeatures, Interrupted
from ssl_zoo.config import instantiate, task_overrides, to_plain
from ssl_zoo.console import info, quiet_lightning
from ssl_zoo.data import DataModule
from ssl_zoo.distributed import is_main_process
from ssl_zoo.hardware import keep_freed_memory
from ssl_zoo.methods import Method
from ssl_zoo.run_folder import Result, read_result
from ssl_zoo.training import loggers as run_loggers
from ssl_zoo.training.build import build_callbacks, build_loggers, build_method, build_trainer
from ssl_zoo.training.report import report, save_first_views, save_last_figures
from ssl_zoo.types import UserError


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


def release() -> None:
    """Give back what the next run of this process must not inherit."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
