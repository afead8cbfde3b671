"""Console output: messages, tables, a progress bar for evaluation."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import Progress
from rich.table import Table

from ssl_zoo.distributed import is_main_process

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


def info(message: str) -> None:
    """Log a line, on rank 0."""
    if is_main_process():
        _log.info(message)


def warn(message: str) -> None:
    """Log a warning, on rank 0."""
    if is_main_process():
        _log.warning("warning: %s", message)


def interject(message: str) -> None:
    """Print a line now, on rank 0: on its own, whatever stands in the terminal's present line."""
    if not is_main_process():
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


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A small table, printed by rank 0."""
    if not is_main_process():
        return
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
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
