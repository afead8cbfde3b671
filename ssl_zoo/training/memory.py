"""What is said where memory does not suffice. Imports no torch."""

from __future__ import annotations

import re

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import flatten
from ssl_zoo.types import first_line


def no_memory(cfg: DictConfig, error: BaseException) -> str:
    """The line of an error that memory ran out: what was asked for, and which sizes ask for much.

    Args:
        cfg: Of train.py; with `resume` it does not hold the run's sizes.
        error: As torch or Python raises it.
    """
    text = " ".join(str(error).split())
    asked = re.search(r"(?:tried to allocate|Tried to allocate) ([\d.]+) ?(\w+)", text)
    amount = f"{asked[1]} {asked[2]} were asked for at once" if asked else first_line(error)
    if asked and asked[2] == "bytes":
        amount = f"{float(asked[1]) / 2**30:,.1f} GiB were asked for at once"
    fix = "continue it on a larger machine"
    if cfg.resume is None:
        smaller = ", ".join(_largest(cfg)[:3])
        fix = f"make one of {smaller} smaller, or give accumulate={2 * cfg.accumulate}"
    return f"out of memory: {amount}: {fix}"


def _largest(cfg: DictConfig) -> list[str]:
    """The whole numbers of the method, and the batch, the largest first, as overrides."""
    method = OmegaConf.to_container(cfg.method, resolve=False)  # each number where it is given
    knobs = flatten({"method": method, "batch_size": cfg.batch_size})
    sizes = {knob: value for knob, value in knobs.items() if type(value) is int and value > 1}
    return [f"{knob}={sizes[knob]}" for knob in sorted(sizes, key=sizes.__getitem__, reverse=True)]
