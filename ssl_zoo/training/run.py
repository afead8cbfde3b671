"""One training run, from a composed config to a run folder."""

from __future__ import annotations

import gc
import logging
import shlex
import signal
import sys
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import Logger
from torch import nn

from ssl_zoo.callbacks import CleanFeatures, Interrupted
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
    typed,
)
from ssl_zoo.console import info, quiet_lightning
from ssl_zoo.data import DataModule
from ssl_zoo.distributed import is_main_process
from ssl_zoo.hardware import keep_freed_memory
from ssl_zoo.methods import Method
from ssl_zoo.run_folder import RunFolder, moved
from ssl_zoo.training import loggers as run_loggers
from ssl_zoo.training.build import (
    build_callbacks,
    build_loggers,
    build_method,
    build_trainer,
    refusals,
)
from ssl_zoo.training.launcher import Job, launch, processes_to_start
from ssl_zoo.training.report import (
    Result,
    report,
    save_first_views,
    save_last_figures,
    used_by_evaluation,
)
from ssl_zoo.training.watched import ended_early
from ssl_zoo.types import UserError


def run(cfg: DictConfig, folder: RunFolder) -> dict[str, float]:
    """Train, write the run folder, and return the last metrics.

    Args:
        cfg: As composed from conf/train.yaml; `resume` replaces it by the saved one.
        folder: Of `folder_of`.

    Raises:
        UserError: If the config or the data is bad.
        KeyboardInterrupt: After a clean stop by Ctrl-C.
    """
    quiet_lightning()
    keep_freed_memory()
    if cfg.resume:
        return _go_on(folder)
    config = to_plain(cfg)
    del config["trust"]  # a file must not vouch for itself
    if preset := preset_line(cfg):
        info(preset)
    with naming_knobs(cfg, task_overrides()):
        check_types(config["trainer"], "trainer")
    if config["trainer"]["fast_dev_run"]:
        return _try_out(config, composed=cfg)
    if trust := trust_for(used_by_evaluation(config)):
        command = f"python evaluate.py {typed('ckpt', str(folder))}{trust}"
        info(f"own parts: score with {command}, export likewise")
    if is_main_process():
        folder.start(config, shlex.join(["python", "train.py", *task_overrides()]))
    return _run(config, folder, earlier=None, composed=cfg)


def _go_on(folder: RunFolder) -> dict[str, float]:
    """Continue a stopped run with its own config.

    Raises:
        UserError: If it cannot go on, or overrides are given with `resume`.
    """
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


def _try_out(config: dict[str, Any], composed: DictConfig) -> dict[str, float]:
    """A few batches of everything, in a folder that is thrown away (`trainer.fast_dev_run`)."""
    try:
        with TemporaryDirectory(prefix="ssl_zoo-") as folder:
            elsewhere = moved(config, config["run_dir"], folder)
            metrics = _train(elsewhere, RunFolder(folder), resume=False, composed=composed)
    finally:
        release(config["compile"])
    info("trainer.fast_dev_run: it runs; nothing was kept")
    return metrics


def _run(
    config: dict[str, Any],
    folder: RunFolder,
    earlier: dict[str, Any] | None,
    composed: DictConfig | dict[str, Any],
) -> dict[str, float]:
    """Train in a folder, and maintain its result.json; `earlier` is that of a resumed run."""
    result = Result(folder, config, earlier or {})
    try:
        result.write("running")
        metrics = _train(config, folder, earlier is not None, composed)
    except Interrupted as stop:
        result.write("interrupted")
        trust = trust_for(config, RUN_PACKAGES)
        goes_on = f"continue with: python train.py {typed('resume', str(folder))}{trust}"
        info(f"{stop}; {goes_on if folder.last.is_file() else 'nothing was saved yet'}")
        if stop.signum == signal.SIGINT:
            raise KeyboardInterrupt from stop
        sys.exit(128 + stop.signum)
    except BaseException as error:
        if _by_hand(error):
            result.write("interrupted")
        else:
            result.write("failed", error=str(error))
        raise
    finally:
        release(config["compile"])
    result.write("finished", metrics)
    report(folder, metrics, result.seconds(), trust_for(used_by_evaluation(config)))
    return metrics


def _by_hand(error: BaseException) -> bool:
    """Whether Ctrl-C ended it; Lightning exits where it comes to know of one."""
    return any(isinstance(e, KeyboardInterrupt) for e in (error, error.__context__))


def _train(
    config: dict[str, Any],
    folder: RunFolder,
    resume: bool,
    composed: DictConfig | dict[str, Any],
) -> dict[str, float]:
    """Train in this process, or in those that the run needs and nobody has started.

    Errors name the knobs of `composed`, found by its interpolations.
    """
    with naming_knobs(composed, task_overrides()):
        processes = processes_to_start(OmegaConf.create(config))
        if not processes:
            return train_here(config, folder, resume)
    raw = OmegaConf.to_container(OmegaConf.create(composed), resolve=False)
    level = logging.getLogger("ssl_zoo").getEffectiveLevel()
    job = Job(config, str(folder), resume, raw, task_overrides(), level)  # type: ignore[arg-type]
    return launch(job, processes)


def train_here(config: dict[str, Any], folder: RunFolder, resume: bool) -> dict[str, float]:
    """Build the parts, fit, draw the figures, in this process: all of a run or one of its ranks."""
    cfg = OmegaConf.create(config)
    with run_loggers.closed_at_end() as loggers:
        # first, so that they show a failure in what follows
        loggers += build_loggers(cfg, folder)
        run_loggers.start(loggers, config)
        return _fit(cfg, config, folder, resume, loggers)


def _fit(
    cfg: DictConfig,
    config: dict[str, Any],
    folder: RunFolder,
    resume: bool,
    loggers: list[Logger],
) -> dict[str, float]:
    seed_everything(config["seed"], workers=False, verbose=False)
    data: DataModule = instantiate(cfg.data)
    method: Method = build_method(cfg, data, init=None if resume else cfg.get("init"))
    seen = data.class_names[: data.num_train_classes]
    extras = {"config": config, "preprocess": data.options(), "train_classes": seen}
    method.checkpoint_extras = {"format": FORMAT, **extras}
    if any(isinstance(m, nn.Conv2d) for m in method.modules()):
        method = method.to(memory_format=torch.channels_last)
    if config["compile"]:
        method.encoder.compile()  # monitors call the backbone itself, which is not compiled

    features = CleanFeatures(config["monitor"]["bank_size"])
    callbacks = build_callbacks(cfg, features, folder)
    trainer = build_trainer(cfg, loggers, callbacks)
    run_loggers.log_figures(loggers, save_first_views(data, folder))
    checkpoint = str(folder.last) if resume else None
    with refusals():
        trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True)

    if why := ended_early(trainer, method.facts.total_steps or 0):
        info(why)
    run_loggers.log_figures(loggers, save_last_figures(data, folder, features.latest_val))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def release(compiled: bool) -> None:
    """Release what the next run in this process must not inherit."""
    if compiled:  # on a GPU machine it imports the compiler: seconds, and warnings
        torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
