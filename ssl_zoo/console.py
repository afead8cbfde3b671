"""Console output: messages, tables, a progress bar for evaluation."""

from __future__ import annotations

import logging
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import Progress
from rich.table import Table

from ssl_zoo.launched import is_rank_zero

# Warnings of Lightning to hide, and why each is intended.
_NOISE = (
    "You passed in a `val_dataloader` but have no",  # the monitors score val
    "Checkpoint directory .* exists and is not empty",  # it is the run's, which goes on
    "The number of training batches .* is smaller than the logging interval",
    r".*LeafSpec.* is deprecated",  # Lightning 2.6.6 on torch 2.14
    "`broadcast_buffers` is deprecated",  # its successor is not in torch before 2.13
    r"It is recommended to use `self.log\(.*sync_dist=True",  # every rank has the whole figure
)
# Messages of Lightning that appear only on request: trainer.profiler, trainer.enable_model_summary.
_REPORTS = ("pytorch_lightning.profilers", "pytorch_lightning.callbacks.model_summary")

_log = logging.getLogger("ssl_zoo")
# How warnings come to name the knobs of a config, the innermost last: config/knob_names.py
in_knobs: list[Callable[[str], str]] = []


def _is_main_process() -> bool:
    """Whether this is rank 0; `distributed` imports torch, without which nothing is connected."""
    distributed = sys.modules.get("ssl_zoo.distributed")
    return distributed.is_main_process() if distributed else is_rank_zero()


def info(message: str) -> None:
    """Log a line, on rank 0."""
    if _is_main_process():
        _log.info(message)


def warn(message: str) -> None:
    """Log a warning, on rank 0; arguments of parts, as in "give white=255", become knobs."""
    if _is_main_process():
        for named in reversed(in_knobs):
            message = named(message)
        _log.warning("warning: %s", message)


def interject(message: str) -> None:
    """Print a line now, on rank 0: on its own, whatever stands in the terminal's present line."""
    if not _is_main_process():
        return
    # a terminal has just shown ^C; above a bar, which rich draws again, a line is alone anyway
    lead = "\n" if sys.stdout.isatty() and not isinstance(sys.stdout, FileProxy) else ""
    print(f"{lead}{message}", flush=True)


def duration(seconds: float) -> str:
    """A time as a person says it: 0.13 s, 12 s, 5 min, 3 h 20 min, 2 days 4 h."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"


def short_values(values: Sequence[str]) -> list[str]:
    """A knob's values in few letters: numbers with 3 digits, or as many as tell them apart."""
    numbers = {value: number for value in values if (number := as_number(value)) is not None}
    for digits in range(3, 18):
        shown = {value: _short(number, digits) for value, number in numbers.items()}
        if len(set(shown.values())) == len(set(numbers.values())):
            break
    return [shown.get(value, value) for value in values]


def as_number(text: str) -> float | None:
    """The finite number that a text is; None for any other text."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _short(number: float, digits: int) -> str:
    if number == int(number) and abs(number) < 1e6:
        return str(int(number))
    return re.sub(r"e([+-])0*", r"e\1", f"{number:.{digits}g}").replace("e+", "e")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A small table, printed by rank 0."""
    if not _is_main_process():
        return
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, emoji=False)  # [a,b] is a value, and no style
    wide = console.options.update(max_width=10_000)  # wrapped by the terminal instead of cut off
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table, crop=False)


def quiet_lightning() -> None:
    """Hide Lightning's banners about hardware and tips, which say nothing about the run."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning", "wandb"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _REPORTS:
        logging.getLogger(name).setLevel(logging.INFO)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A Rich progress bar that disappears when done; yields `progress(done, total)`."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
