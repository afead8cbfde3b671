"""One training run, from a composed config to a run folder."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import Logger
from torch import nn

from ssl_zoo.callbacks import CleanFeatures, Forecast, Interrupted
from ssl_zoo.checkpoints import FORMAT, check_resumable
from ssl_zoo.config import (
    RUN_PACKAGES,
    check_targets,
    check_types,
    instantiate,
    naming_knobs,
    preset_line,
    task_overrides,
    to_plain,
    trust_for,
)
from ssl_zoo.console import info, quiet_lightning
from ssl_zoo.data import DataModule
from ssl_zoo.distributed import is_main_process
from ssl_zoo.hardware import keep_freed_memory
from ssl_zoo.methods import Method
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training import loggers as run_loggers
from ssl_zoo.training.build import (
    build_callbacks,
    build_loggers,
    build_method,
    build_trainer,
    whole_length,
)
from ssl_zoo.training.facts import in_words, run_facts
from ssl_zoo.training.report import (
    Result,
    report,
    save_first_views,
    save_last_figures,
    used_by_evaluation,
)
from ssl_zoo.training.steps import rhythm_of
from ssl_zoo.training.tried import take_dry_run, thrown_away
from ssl_zoo.training.watched import ended_early
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
    if cfg.resume:
        return _go_on(RunFolder(Path(cfg.resume).expanduser()))
    config = to_plain(cfg)
    del config["trust"]  # a file must not vouch for itself
    dry = take_dry_run(config)
    if preset := preset_line(cfg):
        info(preset)
    with naming_knobs(cfg, task_overrides()):
        check_types(config["trainer"], "trainer")
    if config["trainer"]["fast_dev_run"]:
        with naming_knobs(cfg, task_overrides()):
            return _try_out(config, "dry_run" if dry else "trainer.fast_dev_run")
    folder = RunFolder(config["run_dir"])
    if trust := trust_for(used_by_evaluation(config)):
        info(f"own parts: score with python evaluate.py ckpt={folder}{trust}, export likewise")
    if is_main_process():
        folder.start(config, f"python train.py {' '.join(task_overrides())}")
    return _run(config, folder, earlier=None, composed=cfg)


def _go_on(folder: RunFolder) -> dict[str, float]:
    """Continue a stopped run with its own config.

    Raises:
        UserError: If there is no checkpoint, or overrides are given with `resume`.
    """
    if not folder.last.is_file():
        raise UserError(f"resume={folder} holds no checkpoints/last.ckpt: give a run folder")
    beside = ("resume=", "trust=")
    others = [override for override in task_overrides() if not override.startswith(beside)]
    if others:
        raise UserError(f"resume continues with the run's own config: remove {', '.join(others)}")
    check_resumable(folder.last)
    config = folder.read_config()
    check_targets(config, RUN_PACKAGES)
    ended = folder.read_result()
    if ended.get("status") == "finished":
        info(f"{config['run_dir']} is finished: nothing left to do")
        return dict(ended["metrics"])
    return _run(config, RunFolder(config["run_dir"]), earlier=ended, composed=config)


def _try_out(config: dict[str, Any], why: str) -> dict[str, float]:
    """A few batches of everything, in a folder that is thrown away."""

    def know(facts: dict[str, Any]) -> None:
        info(in_words(facts | {"folder": f"{config['run_dir']} (not made)"}))

    try:
        with thrown_away(config) as (elsewhere, folder):
            metrics = _train(elsewhere, folder, False, [], know)
    finally:
        release(config["compile"])
    info(f"{why}: it runs; nothing was kept")
    return metrics


def _run(
    config: dict[str, Any],
    folder: RunFolder,
    earlier: dict[str, Any] | None,
    composed: DictConfig | dict[str, Any],
) -> dict[str, float]:
    """Train in a folder, and maintain its result.json; `earlier` is that of a resumed run.

    Errors name the knobs of `composed`, found by its interpolations.
    """
    result = Result(folder, config, earlier or {})
    loggers: list[Logger] = []
    try:
        result.write("running")
        with naming_knobs(composed, task_overrides()):
            metrics = _train(config, folder, earlier is not None, loggers, result.know)
    except Interrupted as stop:
        run_loggers.finish(loggers, exit_code=128 + stop.signum)
        result.write("interrupted")
        trust = trust_for(config, RUN_PACKAGES)
        info(f"{stop}; continue with: python train.py resume={folder}{trust}")
        if stop.signum == signal.SIGINT:
            raise KeyboardInterrupt from stop
        sys.exit(128 + stop.signum)
    except BaseException as error:
        run_loggers.finish(loggers, exit_code=1)
        result.write("failed", error=str(error))
        raise
    finally:
        release(config["compile"])
    run_loggers.finish(loggers, exit_code=0)
    result.write("finished", metrics)
    report(folder, metrics, result.seconds(), trust_for(used_by_evaluation(config)))
    return metrics


def _train(
    config: dict[str, Any],
    folder: RunFolder,
    resume: bool,
    loggers: list[Logger],
    know: Callable[[dict[str, Any]], None],
) -> dict[str, float]:
    """Build the parts, fit, draw the figures.

    Appends to `loggers`, which the caller closes; hands the run's facts to `know`.
    """
    cfg = OmegaConf.create(config)
    loggers += build_loggers(cfg, folder)  # first, so that they show a failure in what follows
    run_loggers.start(loggers, config)
    seed_everything(config["seed"], workers=False, verbose=False)
    data: DataModule = instantiate(cfg.data)
    method = _method(cfg, data, resume)
    features = CleanFeatures(config["monitor"]["bank_size"])
    callbacks = [*build_callbacks(cfg, features, folder), Forecast(whole_length(cfg, data))]
    trainer = build_trainer(cfg, loggers, callbacks)
    know(run_facts(data, method, trainer, folder))
    run_loggers.log_figures(loggers, save_first_views(data, folder))
    rhythm = rhythm_of(data.num_batches, data.batch_size, config["trainer"])
    run_loggers.count_images(loggers, rhythm)
    checkpoint = str(folder.last) if resume else None
    trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True)

    if why := ended_early(trainer, method.facts.total_steps or 0):
        info(why)
    start = "weights of init" if config["init"] else "random init"
    figures = save_last_figures(data, folder, features.latest_val, rhythm, start)
    run_loggers.log_figures(loggers, figures)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def _method(cfg: DictConfig, data: DataModule, resume: bool) -> Method:
    """The method, with what its checkpoints carry and the memory format that suits it."""
    method: Method = build_method(cfg, data, init=None if resume else cfg.get("init"))
    config = OmegaConf.to_container(cfg)
    seen = data.class_names[: data.num_train_classes]
    extras = {"config": config, "preprocess": data.options(), "train_classes": seen}
    method.checkpoint_extras = {"format": FORMAT, **extras}
    if any(isinstance(m, nn.Conv2d) for m in method.modules()):
        method = method.to(memory_format=torch.channels_last)
    if cfg.compile:
        method.encoder.compile()  # monitors call the backbone itself, which is not compiled
    return method


def release(compiled: bool) -> None:
    """Release what the next run in this process must not inherit."""
    if compiled:  # on a GPU machine it imports the compiler: seconds, and warnings
        torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
