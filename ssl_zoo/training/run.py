"""One training run, from a composed config to a run folder."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import Logger
from torch import nn

from ssl_zoo.callbacks import CleanFeatures, Interrupted
from ssl_zoo.checkpoints import FORMAT
from ssl_zoo.config import (
    RUN_PACKAGES,
    check_types,
    instantiate,
    naming_knobs,
    preset_line,
    remove_if_empty,
    task_overrides,
    to_plain,
    trust_for,
    wiring_of,
    with_absolute_places,
)
from ssl_zoo.console import info, quiet_lightning
from ssl_zoo.data import DataModule
from ssl_zoo.distributed import is_main_process
from ssl_zoo.hardware import keep_freed_memory
from ssl_zoo.methods import Method
from ssl_zoo.run_folder import RunFolder, moved
from ssl_zoo.training import loggers as run_loggers
from ssl_zoo.training.build import build_callbacks, build_loggers, build_method, build_trainer
from ssl_zoo.training.report import (
    Result,
    report,
    report_late,
    save_first_views,
    save_last_figures,
    used_by_evaluation,
)
from ssl_zoo.training.resume import Resumed, resumed
from ssl_zoo.training.watched import ended_early


def run(cfg: DictConfig) -> dict[str, float]:
    """Train, write the run folder, and return the last metrics.

    Args:
        cfg: As composed from conf/train.yaml.

    Raises:
        UserError: If the config or the data is bad.
        KeyboardInterrupt: After a clean stop by Ctrl-C.
    """
    quiet_lightning()
    keep_freed_memory()
    cfg = with_absolute_places(cfg)
    config = to_plain(cfg)
    del config["trust"]  # a file must not vouch for itself
    if preset := preset_line(cfg):
        info(preset)
    with naming_knobs(cfg, task_overrides()):
        check_types(config["trainer"], "trainer")
    if config["trainer"]["fast_dev_run"]:
        with naming_knobs(cfg, task_overrides()):
            return _try_out(config)
    folder = RunFolder(config["run_dir"])
    if trust := trust_for(used_by_evaluation(config)):
        info(f"own parts: score with python evaluate.py ckpt={folder}{trust}, export likewise")
    if is_main_process():
        folder.start(config, f"python train.py {' '.join(task_overrides())}")
    return _run(config, folder, cfg)


def go_on(run: str | Path, changes: Sequence[str]) -> dict[str, float]:
    """Continue a stopped run with its own config, and return the last metrics.

    Args:
        run: Its folder, or its last.ckpt.
        changes: Overrides of what may change, see `config.CHANGEABLE`.

    Raises:
        UserError: If it cannot go on, in a line that says why.
    """
    quiet_lightning()
    keep_freed_memory()
    again = resumed(run, changes)
    if again.metrics is not None:
        if again.earlier.get("status") != "finished":  # killed before it said so
            report_late(again.folder, again.config, again.earlier, again.metrics)
        return again.metrics
    return _run(again.config, again.folder, again.config, again)


def _try_out(config: dict[str, Any]) -> dict[str, float]:
    """A few batches of everything, in a folder that is thrown away (`trainer.fast_dev_run`)."""
    try:
        with TemporaryDirectory(prefix="ssl_zoo-") as folder:
            elsewhere = moved(config, config["run_dir"], folder)
            metrics = _train(elsewhere, RunFolder(folder), [], {})
    finally:
        release(config["compile"])
        remove_if_empty(config["run_dir"])  # Hydra created it
    info("trainer.fast_dev_run: it runs; nothing was kept")
    return metrics


def _run(
    config: dict[str, Any],
    folder: RunFolder,
    composed: DictConfig | dict[str, Any],
    again: Resumed | None = None,
) -> dict[str, float]:
    """Train in a folder, and maintain its result.json; `again` is a run that goes on.

    Errors name the knobs of `composed`, found by its interpolations.
    """
    wiring = again.wiring if again else wiring_of(OmegaConf.create(composed))
    result = Result(folder, config, again.earlier if again else {})
    loggers: list[Logger] = []
    try:
        result.write("running")
        with naming_knobs(composed, task_overrides()):
            metrics = _train(config, folder, loggers, wiring, again)
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
    loggers: list[Logger],
    wiring: dict[str, str] | None,
    again: Resumed | None = None,
) -> dict[str, float]:
    """Build the parts, fit, draw the figures. Appends to `loggers`, which the caller closes."""
    cfg = OmegaConf.create(config)
    loggers += build_loggers(cfg, folder)  # first, so that they show a failure in what follows
    run_loggers.start(loggers, config)
    seed_everything(config["seed"], workers=False, verbose=False)
    data: DataModule = again.data if again and again.data else instantiate(cfg.data)
    method: Method = build_method(cfg, data, init=None if again else cfg.get("init"))
    seen = data.class_names[: data.num_train_classes]
    extras = {"config": config, "preprocess": data.options(), "train_classes": seen}
    origin = {"split": data.fingerprint, "wiring": wiring}
    method.checkpoint_extras = {"format": FORMAT, **extras, **origin}
    if any(isinstance(m, nn.Conv2d) for m in method.modules()):
        method = method.to(memory_format=torch.channels_last)
    if config["compile"]:
        method.encoder.compile()  # monitors call the backbone itself, which is not compiled

    features = CleanFeatures(config["monitor"]["bank_size"])
    callbacks = build_callbacks(cfg, features, folder)
    if again:
        callbacks = [*again.callbacks, *callbacks]
    trainer = build_trainer(cfg, loggers, callbacks)
    run_loggers.log_figures(loggers, save_first_views(data, folder))
    if again:
        again.keep_changes()
    checkpoint = str(folder.last) if again else None
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
