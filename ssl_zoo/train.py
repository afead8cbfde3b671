"""Pretrain a backbone: `python train.py method=simclr dataset=cifar10 ...`; see `--help`."""

from __future__ import annotations

from ssl_zoo.stopping import end_quietly

if __name__ == "__main__":  # before the imports that take half a second
    end_quietly()

import logging
import os
import traceback
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ssl_zoo.config import (
    CONFIG_DIR,
    RUN_PACKAGES,
    TRAIN_ROOTS,
    check_changes,
    check_dataset,
    check_knobs,
    check_overrides,
    check_program,
    fail,
    hydra_folder,
    own_packages,
    register_resolvers,
    remove_if_empty,
    run_cli,
    sweep_group,
    task_overrides,
    to_plain,
    told,
    trusting,
    unread_of,
)
from ssl_zoo.metric_names import objective_of
from ssl_zoo.run_folder import OUT_OF_MEMORY, RunFolder
from ssl_zoo.stopping import Stopped, listen
from ssl_zoo.training.facts import say_start
from ssl_zoo.training.folder import folder_of, held
from ssl_zoo.training.memory import no_memory
from ssl_zoo.training.requeue import found_after_restart, hand_over
from ssl_zoo.training.statuses import BAD_INPUT, RESULTS, status_of, was_stopped
from ssl_zoo.training.sweep_folder import told_how_it_goes_on
from ssl_zoo.training.sweep_job import apart, found_in_sweep, keep_failure
from ssl_zoo.types import UserError, listed

register_resolvers()


def train(cfg: DictConfig) -> dict[str, float]:
    """Train one run and return its last metrics.

    Args:
        cfg: As composed from conf/train.yaml; its `run_dir` becomes the folder that was made. With
            `resume`, the run's own config is used.

    Raises:
        UserError: If the config or the data is bad.
    """
    check_program(cfg, "train")
    if cfg.resume is not None:
        return _resume_of(cfg)
    check_dataset(cfg)
    check_knobs(cfg)
    to_plain(cfg)  # a missing value is reported before torch is imported
    found = found_in_sweep(cfg) if sweep_group() else found_after_restart(cfg)
    if found is not None and found.metrics is not None:
        return found.metrics
    if found is not None:  # what this command calls itself may be called again
        with trusting(cfg.trust), trusting(own_packages(to_plain(cfg), RUN_PACKAGES)):
            return resume(found.folder.path, *found.changes)
    _prepare_torch()
    with trusting(cfg.trust), folder_of(cfg) as folder:
        dry = ", which a dry run does not make" if cfg.dry_run else ""
        say_start(cfg, f"in {folder}{dry}")
        from ssl_zoo.training.run import run  # imports torch, once the command line is parsed

        return run(cfg, folder)


def resume(
    run: str | Path, *changes: str, trust: Iterable[str] | str | None = None
) -> dict[str, float]:
    """Continue a stopped run with its own config, and return its last metrics.

    Args:
        run: The run folder, or its checkpoints/last.ckpt.
        *changes: What may change, as on the command line: "epochs=200", "dataset.root=DIR"; the
            list is `ssl_zoo.config.CHANGEABLE`.
        trust: Packages of your own that the run's config may call.

    Raises:
        UserError: If the run cannot go on.
    """
    _prepare_torch()
    check_changes(changes)
    with trusting(trust), held(RunFolder.of(run)) as folder:
        if folder.config.is_file():
            say_start(folder.read_config(), f"resumed in {folder}")
        from ssl_zoo.training.run import go_on

        return go_on(folder, changes)


def _resume_of(cfg: DictConfig) -> dict[str, float]:
    """Of a config with `resume`: what the command line overrides counts, and nothing else."""
    if not isinstance(cfg.resume, str) or not cfg.resume:
        raise UserError(f"resume={cfg.resume}: give a run folder, as in resume=runs/RUN, or null")
    beside = ("resume=", "trust=")
    changes = [override for override in task_overrides() if not override.startswith(beside)]
    unread = [] if HydraConfig.initialized() else unread_of(cfg)
    if unread:
        logging.getLogger("ssl_zoo").warning(
            "warning: resume=%s goes on with the run's own config: %s of this one is not read; "
            "ssl_zoo.train.resume(RUN, 'epochs=N') changes what may change",
            *(cfg.resume, listed(unread)),
        )
    return resume(cfg.resume, *changes, trust=cfg.trust)


def _prepare_torch() -> None:
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch on a CPU: huge pages, fewer faults


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Train one run; what sweepers see is its objective: `objective=`, else the first logged."""
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        with apart() if multirun else nullcontext():
            listen()
            check_overrides(cfg, task_overrides(), HydraConfig.get().runtime.choices, TRAIN_ROOTS)
            metrics = train(cfg)
        _take_back()  # where run_dir= is elsewhere
        objective = objective_of(metrics, cfg.get("objective"))
        return None if objective is None else metrics[objective.name]
    except (Exception, SystemExit) as error:
        _take_back()
        if multirun and not was_stopped(error):
            _failed_job(cfg, error)
            return None
        if isinstance(error, Stopped):
            hand_over(error)
        if isinstance(error, BAD_INPUT):
            fail(error)
        if status_of(error) == OUT_OF_MEMORY:
            fail(UserError(no_memory(cfg, error)))
        raise


def _failed_job(cfg: DictConfig, error: Exception | SystemExit) -> None:
    """Say once why a job failed; Hydra goes on with the others.

    Raises:
        Exception: The error, unless it is a result: NaN, or no memory left.
    """
    if isinstance(error, SystemExit):  # of a part, and not for Hydra to end all jobs by
        error = RuntimeError(f"a part of the run ended the process: sys.exit({error.code})")
    status = status_of(error)
    if not isinstance(error, BAD_INPUT) and status not in RESULTS:
        traceback.print_exception(error)
    told(error, HydraConfig.get().job.num)
    if status in RESULTS:
        return
    keep_failure(cfg, error)
    raise error


def _take_back() -> None:
    """Remove the folder that Hydra made, where nothing came of the run."""
    if made := hydra_folder():
        remove_if_empty(made)


def command() -> None:
    """The command line; bad input gives one line on stderr and exit code 2."""
    listen()
    with told_how_it_goes_on():
        run_cli(main, "train", resume)


if __name__ == "__main__":
    command()
