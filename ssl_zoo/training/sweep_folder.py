"""The folder of a multirun: one, whatever the jobs vary, and this multirun's only. No torch."""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from ssl_zoo.config import fail
from ssl_zoo.launched import is_rank_zero
from ssl_zoo.multirun import MARK, is_sweep
from ssl_zoo.run_folder import RunFolder, new_folder
from ssl_zoo.types import UserError


class SweepFolder(Callback):
    """Makes the sweep's folder before anything is written, and hands its name to every job."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            folder = _claimed(config)
        except UserError as error:
            fail(error)  # Hydra would only warn of an exception
        atexit.register(_take_back, folder)
        quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = str(folder)
            # each job's config is composed anew from these, maybe by another process
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")


def _claimed(config: DictConfig) -> Path:
    """The folder that this multirun has to itself.

    Raises:
        UserError: If another has it, or it cannot be made.
    """
    if not is_rank_zero() or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("-m starts every job itself: start one process, not one for each rank")
    given = config.hydra.overrides.task
    if (run := _last(given, "resume")) and not run.endswith("=null"):
        raise UserError(f"{run} is of runs that exist: resume one after another, without -m")
    if (one := _last(given, "run_dir")) and not config.dry_run:
        raise UserError(f"{one} is the folder of one run: for those of -m give sweep=NAME")
    named = _last(given, "sweep")
    placed = _last(config.hydra.overrides.hydra, "hydra.sweep.dir")
    if named and placed:
        raise UserError(f"{named} and {placed} both name the sweep's folder: remove one")
    folder = Path(config.hydra.sweep.dir)
    if placed and "goes_on" in config.hydra.sweeper:
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    if placed:
        return _unused(folder)
    if not named or (config.sweep is None and named.endswith("=null")):
        return new_folder(folder)
    name = config.sweep if isinstance(config.sweep, str) else named.partition("=")[2]
    if config.sweep is None or not re.fullmatch(r"(?!\.)[^/\\]+", name):
        raise UserError(f"{named}: give one name, the folder is runs/NAME")
    try:
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
    except FileExistsError as error:
        if "goes_on" in config.hydra.sweeper:
            return folder
        raise UserError(
            f"sweep={name}: {folder} exists, choose another name or remove it"
        ) from error
    except OSError as error:
        raise UserError(f"sweep={name}: cannot make {folder}: {error.strerror}") from error
    return folder


def _last(overrides: Iterable[str], key: str) -> str | None:
    """The override of a key that counts."""
    return next((o for o in reversed(list(overrides)) if o.lstrip("+").startswith(f"{key}=")), None)


def _unused(folder: Path) -> Path:
    """The folder of hydra.sweep.dir=, which may exist; two multiruns cannot both create the mark.

    Raises:
        UserError: If runs are in it.
    """
    taken = f"hydra.sweep.dir={folder} holds runs already: choose another folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(RunFolder(path).result.exists() for path in (folder, *folder.iterdir())):
            raise UserError(taken)
        mark = os.open(folder / MARK, os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        if is_sweep(folder):
            raise UserError(taken) from error
        raise UserError(f"hydra.sweep.dir={folder} cannot be written: {error.strerror}") from error
    os.close(mark)
    return folder


def _take_back(folder: Path) -> None:
    """Where no job began, so that the command can be repeated without its mistake."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [MARK]:
            (folder / MARK).unlink()
        folder.rmdir()  # if it is empty
