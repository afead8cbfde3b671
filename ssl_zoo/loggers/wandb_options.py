"""What W&B is told by knobs, checked: mode, texts, tags, and where the code's repository is."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_zoo.console import info
from ssl_zoo.types import BadValue, UserError

_MODES = ("auto", "online", "offline", "disabled")
_W_AND_BS = ("online", "offline", "disabled", "dryrun", "run", "shared")  # of WANDB_MODE
_LOG_MODEL = (True, False, "all")


def mode_of(mode: str) -> str:
    """online, offline or disabled.

    Raises:
        BadValue: If the mode is unknown.
        UserError: If WANDB_MODE is, which W&B reads whatever the mode is.
    """
    known = os.environ.get("WANDB_MODE") or "online"
    if known not in _W_AND_BS:
        raise UserError(f"WANDB_MODE={known}: must be online, offline or disabled, or not set")
    if mode not in _MODES:
        raise BadValue("mode", mode, f"one of {', '.join(_MODES)}")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _reachable() else "offline")
    if mode == "dryrun":  # an older name
        mode = "offline"
    if mode == "offline":
        info("W&B is offline: `wandb sync` sends the run later")
    return mode


def _reachable() -> bool:
    """Whether W&B's server answers within two seconds."""
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    name, _, port = host.partition(":")
    try:
        socket.create_connection((name, int(port or 443)), timeout=2).close()
    except OSError:
        return False
    return True


def text(argument: str, value: object) -> str | None:
    """A number too, since name=123 is one to Hydra.

    Raises:
        BadValue: If it is neither.
    """
    if value is None:
        return None
    if not isinstance(value, str | int | float):
        raise BadValue(argument, value, "a text")
    return str(value)


def tag_list(tags: str | Sequence[Any] | None) -> list[str] | None:
    """Tags as W&B takes them.

    Raises:
        BadValue: If one is not a short text.
    """
    if tags is None:
        return None
    listed = [tags] if isinstance(tags, str | int | float) else list(tags)
    if not all(isinstance(tag, str | int | float) and 1 <= len(str(tag)) <= 64 for tag in listed):
        raise BadValue("tags", tags, "texts of 1 to 64 characters, as in [a,b]")
    return [str(tag) for tag in listed]


def check_log_model(value: object) -> None:
    """Refuse what is not a choice of checkpoints to upload.

    Raises:
        BadValue: Naming the choices.
    """
    if not any(value is one or value == one == "all" for one in _LOG_MODEL):
        raise BadValue("log_model", value, "true (at the end), all (at each save) or false")


def code_folder() -> Path:
    """Whose git commit and changes a run tells: this checkout's, else the working folder's.

    W&B itself would look at the run folder, which may lie in another repository or in none.
    """
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / ".git").exists() else Path.cwd()
