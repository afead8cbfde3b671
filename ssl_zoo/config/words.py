"""Keys that people type and that have another name here. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ssl_zoo.config.choices import CONFIG_DIR, options_of
from ssl_zoo.types import UserError

# What a run hands to Lightning's Trainer itself, and the group that says what.
_OWN = {"callbacks": "callbacks=", "logger": "logger="}
_KNOB = re.compile(r"\$\{([\w.]+)\}")


def check_words(args: Iterable[str]) -> None:
    """Refuse a key of the command line that another key stands for, and name that one.

    Args:
        args: The command line.

    Raises:
        UserError: Naming both.
    """
    for arg in args:
        key, _, value = arg.lstrip("+").partition("=")
        group, _, name = key.partition(".")
        if group == "trainer" and name in _OWN:
            raise UserError(f"{key} is given by the run: remove it, and choose {_OWN[name]}")
        if group == "trainer" and (knob := _knob_of_trainer(name)):
            raise UserError(f"{key} has its value from {knob}: give {knob}={value}")
        if group == "logger" and name.split(".")[0] not in options_of("logger"):
            keys = [f"logger.{option}.{name}" for option in _loggers_with(name)]
            if keys:
                raise UserError(f"{key} has moved: give {' or '.join(keys)}={value}")


def _knob_of_trainer(name: str) -> str | None:
    """The knob that feeds an argument of Lightning's Trainer; None where it is Lightning's own."""
    knob = _KNOB.fullmatch(str(_read("trainer", "default").get(name, "")))
    return knob.group(1) if knob else None


def _loggers_with(name: str) -> list[str]:
    return [option for option in options_of("logger") if name in _read("logger", option)]


def _read(group: str, option: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((Path(CONFIG_DIR) / group / f"{option}.yaml").read_text())
    return tree
