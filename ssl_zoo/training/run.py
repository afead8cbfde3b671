"""One training run, from a composed config to a run folder."""

from __future__ import annotations

import errno
import gc
import logging
import shlex
import signal
from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import Logger
from torch import nn

from ssl_zoo import loggers as run_loggers
from ssl_zoo.callbacks import CleanFeatures, CollapseMonitor, Forecast, Interrupted
from ssl_zoo.checkpoints import FORMAT
from ssl_zoo.config import (
    RUN_PACKAGES,
    check_types,
    instantiate,
    naming_knobs,
    preset_line,
    shown,
    sweep_group,
    task_overrides,
    to_plain,
    trust_for,
    typed,
    wiring_of,
    with_absolute_places,
)
from ssl_zoo.console import info, quiet_lightning
from ssl_zoo.cores import shared_cores
from ssl_zoo.data import DataModule
from ssl_zoo.distributed import is_main_process
from ssl_zoo.hardware import keep_freed_memory, peak_memory
from ssl_zoo.methods import Method
from ssl_zoo.run_folder import ENDED, RunFolder
from ssl_zoo.stopping import Stopped
from ssl_zoo.training import dashboard
from ssl_zoo.training.build import (
    build_callbacks,
    build_loggers,
    build_method,
    build_trainer,
    refusals,
    whole_length,
)
from ssl_zoo.training.facts import in_words, of_summary, run_facts
from ssl_zoo.training.folder import held
from ssl_zoo.training.frozen import Job
from ssl_zoo.training.launcher import launch, processes_to_start
from ssl_zoo.training.report import (
    Result,
    end_status,
    keep_end,
    report,
    report_late,
    save_first_views,
    save_last_figures,
    seconds_of,
    start_of,
    used_by_evaluation,
)
from ssl_zoo.training.requeue import say_stopped
from ssl_zoo.training.resume import NewSchedule, Resumed, resumed
from ssl_zoo.training.statuses import INTERRUPTED, status_of
from ssl_zoo.training.steps import rhythm_of
from ssl_zoo.training.tasks import check_tasks, meeting_again
from ssl_zoo.training.tried import take_dry_run, thrown_away
from ssl_zoo.training.watched import ended_early
from ssl_zoo.types import UserError


def run(cfg: DictConfig, folder: RunFolder) -> dict[str, float]:
    """Train, write the run folder, and return the last metrics.

    Args:
        cfg: As composed from conf/train.yaml.
        folder: Of `folder_of`.

    Raises:
        UserError: If the config or the data is bad.
        KeyboardInterrupt: After a clean stop by Ctrl-C.
    """
    quiet_lightning()
    keep_freed_memory()
    cfg = with_absolute_places(cfg)
    config = to_plain(cfg)
    del config["trust"]  # a file must not vouch for itself
    dry = take_dry_run(config)
    if preset := preset_line(cfg):
        info(preset)
    with naming_knobs(cfg, task_overrides()):
        check_types(config["trainer"], "trainer")
    check_tasks(cfg)
    if config["trainer"]["fast_dev_run"]:
        return _try_out(config, cfg, "dry_run" if dry else "trainer.fast_dev_run")
    if trust := trust_for(used_by_evaluation(config)):
        command = f"python evaluate.py {typed('ckpt', str(folder))}{trust}"
        info(f"own parts: score with {command}, export likewise")
    if is_main_process():
        folder.start(config, shlex.join(["python", "train.py", *task_overrides()]))
    with shared_cores():
        return _run(config, folder, cfg)


def train_frozen(job: Job) -> dict[str, float]:
    """All of a run from its frozen config, and the last metrics; one that has begun goes on.

    Args:
        job: Of the whole run.

    Raises:
        UserError: If the config or the data is bad.
    """
    quiet_lightning()
    keep_freed_memory()
    with held(RunFolder(job.folder)) as folder:
        if folder.last.is_file():
            return go_on(folder, [])
        folder.start(job.config, shlex.join(["python", "train.py", *job.overrides]))
        with shared_cores():
            return _run(job.config, folder, OmegaConf.create(job.composed))


def go_on(folder: RunFolder, changes: Sequence[str]) -> dict[str, float]:
    """Continue a stopped run with its own config, and return the last metrics.

    Args:
        folder: The run's.
        changes: Overrides of what may change, see `config.CHANGEABLE`.

    Raises:
        UserError: If it cannot go on, in a line that says why.
    """
    quiet_lightning()
    keep_freed_memory()
    again = resumed(folder, changes)
    check_tasks(OmegaConf.create(again.config))
    if again.metrics is not None:
        if again.earlier.get("status") not in ENDED:  # killed before it said so
            _keep_verdict(again.collapsed, again.folder)
            report_late(again.folder, again.config, again.earlier, again.metrics, again.step)
        return again.metrics
    with shared_cores():
        return _run(again.config, again.folder, again.config, again)


def _try_out(config: dict[str, Any], composed: DictConfig, why: str) -> dict[str, float]:
    """A few batches of everything, in a folder that is thrown away."""
    try:
        with thrown_away(config) as (elsewhere, folder):
            shown = f"{config['run_dir']} (not made)"
            metrics = _train(elsewhere, folder, composed, shown=shown)
    finally:
        release(config["compile"])
    info(f"{why}: it runs; nothing was kept")
    return metrics


def _run(
    config: dict[str, Any],
    folder: RunFolder,
    composed: DictConfig | dict[str, Any],
    again: Resumed | None = None,
) -> dict[str, float]:
    """Train in a folder, and maintain its result.json; `again` is a run that goes on."""
    result = Result(folder, config, again.earlier if again else {})
    try:
        result.write("running")
        metrics = _train(config, folder, composed, again)
    except (Interrupted, Stopped) as stop:
        result.write(INTERRUPTED)
        queue = bool(config.get("requeue")) and sweep_group() is None and is_main_process()
        say_stopped(f"{stop}{_how_it_goes_on(config, folder)}", stop.signum, queue, info)
        if stop.signum == signal.SIGINT:
            raise KeyboardInterrupt from stop
        # a launcher may end all processes by the first that fails, and rank 0 is the last to end
        raise Stopped(stop.signum, None if is_main_process() else 0) from stop
    except BaseException as error:
        status = status_of(error)
        result.write(status, error=None if status == INTERRUPTED else str(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"no space left on the disk of {error.filename or folder}") from error
        raise
    finally:
        release(config["compile"])
    result.write(end_status(folder), metrics)
    report(folder, metrics, result.seconds(), trust_for(used_by_evaluation(config)))
    return metrics


def _how_it_goes_on(config: dict[str, Any], folder: RunFolder) -> str:
    """The rest of the line about a run that was stopped; a sweep says how all of it goes on."""
    if sweep_group() is not None:
        return ""
    if not folder.last.is_file():
        return "; nothing was saved yet"
    trust = trust_for(config, RUN_PACKAGES)
    return f"; continue with: python train.py {typed('resume', str(folder))}{trust}"


def _train(
    config: dict[str, Any],
    folder: RunFolder,
    composed: DictConfig | dict[str, Any],
    again: Resumed | None = None,
    shown: str | None = None,
) -> dict[str, float]:
    """Train in this process, or in those that the run needs and nobody has started.

    Errors name the knobs of `composed`, found by its interpolations; the run's line names the
    folder, or what is `shown` for it.
    """
    cfg = OmegaConf.create(composed)
    raw = OmegaConf.to_container(cfg, resolve=False)
    if again is None:
        board = dashboard.of_new(cfg)
    else:
        board = dashboard.of_resumed(folder, config, again.earlier)
    job = Job(
        config=config,
        folder=str(folder),
        shown=str(folder) if shown is None else shown,
        resume=again is not None,
        new_schedule=again is not None and again.new_schedule,
        changes=again.changes if again else [],
        wiring=again.wiring if again else wiring_of(cfg),
        composed=raw,  # type: ignore[arg-type]
        overrides=task_overrides(),
        log_level=logging.getLogger("ssl_zoo").getEffectiveLevel(),
        copies=board.copies,
        options=board.options,
        first_step=again.step if again else 0,
    )
    with naming_knobs(composed, task_overrides()):
        processes = processes_to_start(OmegaConf.create(config))
        if not processes:
            return train_here(job, again.data if again else None)
    return launch(job, processes)


def train_here(job: Job, data: DataModule | None = None) -> dict[str, float]:
    """Build the parts, fit, draw the figures, in this process: all of a run or one of its ranks.

    Args:
        job: What to train.
        data: Its images, if they have been read already.
    """
    cfg, folder = OmegaConf.create(job.config), RunFolder(job.folder)
    with meeting_again(), run_loggers.closed_at_end() as loggers:
        # first, so that they show a failure in what follows
        loggers += build_loggers(cfg, folder)
        once = shown(job.config, job.copies, job.options)
        run_loggers.start(loggers, once, copies=job.copies, options=job.options)
        return _fit(job, cfg, loggers, data)


def _fit(
    job: Job, cfg: DictConfig, loggers: list[Logger], data: DataModule | None
) -> dict[str, float]:
    config, folder = job.config, RunFolder(job.folder)
    seed_everything(config["seed"], workers=False, verbose=False)
    data = instantiate(cfg.data) if data is None else data
    method = _method(job, cfg, data)
    features = CleanFeatures(config["monitor"]["bank_size"])
    callbacks = [*build_callbacks(cfg, features, folder), Forecast(whole_length(cfg, data))]
    if job.new_schedule:
        callbacks = [NewSchedule(), *callbacks]
    trainer = build_trainer(cfg, loggers, callbacks)
    facts = run_facts(data, method, trainer, job.shown)
    _say_facts(facts, folder)
    run_loggers.log_summary(loggers, of_summary(facts))
    rhythm = rhythm_of(data.num_batches, data.batch_size, config["trainer"])
    seconds = seconds_of(folder)
    run_loggers.count_images(loggers, rhythm, seconds)
    run_loggers.log_figures(loggers, save_first_views(data, folder), job.first_step)
    if job.changes and is_main_process():
        folder.change(config, f"later: resume with {' '.join(job.changes)}")
    checkpoint = str(folder.last) if job.resume else None
    with refusals():
        trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True)

    device = trainer.strategy.root_device
    keep_end(folder, trainer.global_step, rhythm, peak_memory(device))
    monitors = [one for one in callbacks if isinstance(one, CollapseMonitor)]
    _keep_verdict(next((monitor.verdict for monitor in monitors), ""), folder)
    if why := ended_early(trainer, method.facts.total_steps or 0):
        info(why)
    figures = save_last_figures(data, folder, features.latest_val, rhythm, start_of(config))
    last = max(0, trainer.global_step - 1)
    run_loggers.log_figures(loggers, figures, last)
    run_loggers.log_embeddings(loggers, features.latest_val, data.class_names, last)
    run_loggers.log_summary(loggers, {"seconds": round(seconds(), 1)})
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def _say_facts(facts: dict[str, Any], folder: RunFolder) -> None:
    """Say what was read and where it is trained, and keep it in result.json."""
    info(in_words(facts))
    if is_main_process():
        folder.keep_facts(facts)


def _keep_verdict(collapsed: str, folder: RunFolder) -> None:
    """Keep in result.json how the embeddings have collapsed, if they have."""
    if collapsed and is_main_process():
        folder.keep_facts(folder.read_result().get("facts", {}) | {"collapsed": collapsed})


def _method(job: Job, cfg: DictConfig, data: DataModule) -> Method:
    """The method, with what its checkpoints carry and the memory format that suits it."""
    method: Method = build_method(cfg, data, init=None if job.resume else cfg.get("init"))
    seen = data.class_names[: data.num_train_classes]
    extras = {"config": job.config, "preprocess": data.options(), "train_classes": seen}
    origin = {"split": data.fingerprint, "wiring": job.wiring}
    method.checkpoint_extras = {"format": FORMAT, **extras, **origin}
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
