"""One training run: its parts, its loggers, its reports. Lazy: importing it imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PARTS = {
    "SweepFolder": "sweep_folder",
    "SweepSummary": "sweep",
    "initialized": "init",
    # in the configs of earlier runs
    "tensorboard_logger": "ssl_zoo.loggers",
    "wandb_logger": "ssl_zoo.loggers",
}
__all__ = ["SweepFolder", "SweepSummary", "initialized", "tensorboard_logger", "wandb_logger"]


def __getattr__(name: str) -> Any:
    if name not in _PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = _PARTS[name]
    return getattr(import_module(place if "." in place else f"{__name__}.{place}"), name)
