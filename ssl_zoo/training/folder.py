"""The folder of a run: made for it alone, and locked while it is written. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import hydra_folder, remove_if_empty, sweep_group
from ssl_zoo.launched import is_rank_zero
from ssl_zoo.lock import locked
from ssl_zoo.run_folder import RunFolder, new_folder
from ssl_zoo.types import BadValue, UserError

_log = logging.getLogger("ssl_zoo")


@contextmanager
def folder_of(cfg: DictConfig) -> Iterator[RunFolder]:
    """The folder of a run, which nobody else writes inside.

    A new run's folder is made for it; where `run_dir` or hydra.run.dir names one, it may exist. In
    `cfg`, `run_dir` becomes the folder's path. Ranks other than 0, and a run that is only tried
    out (`trainer.fast_dev_run`, `dry_run`), make no folder and hold no lock.

    Args:
        cfg: As composed from conf/train.yaml.

    Raises:
        UserError: If another process writes the folder, or it cannot be written.
    """
    if cfg.get("sweep") is not None and sweep_group() is None:
        raise UserError(f"sweep={cfg.sweep} names the folder of a multirun: add -m")
    if not isinstance(cfg.run_dir, str) or not cfg.run_dir.strip():
        raise BadValue("run_dir", cfg.run_dir, says="names no folder: give one, or leave it out")
    folder = RunFolder(cfg.run_dir)
    if cfg.trainer.fast_dev_run or cfg.dry_run or not is_rank_zero():
        yield folder
        return
    folder = _made(cfg, folder)
    try:
        with held(folder):
            yield folder
    except UserError:
        if sweep_group() is None:  # whose summary lists the jobs that failed
            folder.take_back()
        raise
    finally:
        remove_if_empty(str(folder))  # nothing came of the run


@contextmanager
def held(folder: RunFolder) -> Iterator[RunFolder]:
    """A folder that exists, which nobody else writes inside; ranks other than 0 hold no lock.

    Raises:
        UserError: If another process writes it, or it cannot be written.
    """
    if not is_rank_zero():
        yield folder
        return
    with locked(folder.path) as left:
        if left:
            _log.info(left)
        yield folder


def _made(cfg: DictConfig, folder: RunFolder) -> RunFolder:
    """A new folder, with a suffix where the name is taken, unless the user has named one."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    if "${output_dir:" in str(raw["run_dir"]) and hydra_folder() is None:
        folder = RunFolder(new_folder(folder.path))
        cfg.run_dir = str(folder)
        return folder
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror
        raise UserError(f"cannot write {folder}: {why}; choose another folder") from error
    return folder
