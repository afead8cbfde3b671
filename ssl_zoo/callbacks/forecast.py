"""The time and memory that a run will take, said after its first steps."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo.callbacks.due import stepped
from ssl_zoo.console import duration, info
from ssl_zoo.hardware import peak_memory

_STEPS, _SECONDS = 5, 3.0  # what is measured at least, unless the first epoch is shorter


class Forecast(Callback):
    """Says once, after a few steps, what the rest takes.

    The first step, which warms up, is not measured; nor is what happens between epochs.

    Args:
        total_steps: Optimizer steps of the whole run.
    """

    def __init__(self, total_steps: int) -> None:
        self.total_steps = total_steps
        self.measured = -1  # the first step's end is the start
        self.start = 0.0
        self.said = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begun = perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.said or not stepped(trainer, batch_idx):
            return
        self.measured += 1
        if self.measured == 0:
            self.start = self._now(pl_module.device)
        last = trainer.is_last_batch or trainer.global_step == trainer.max_steps
        enough = self.measured >= _STEPS and perf_counter() - self.start >= _SECONDS
        if last or enough:
            self.said = True
            if trainer.global_step < self.total_steps:  # else there is nothing to expect
                info(self._line(trainer.global_step, pl_module.device))

    def _now(self, device: torch.device) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return perf_counter()

    def _line(self, done: int, device: torch.device) -> str:
        now = self._now(device)
        # an epoch of one step has no step after it to measure
        seconds = (now - self.start) / self.measured if self.measured else now - self.begun
        left = self.total_steps - done
        line = (
            f"about {duration(seconds * left)} for the {left:,} steps left, {duration(seconds)} "
            "each, without the monitors"
        )
        memory = peak_memory(device)
        if memory is not None:
            line += f"; memory so far {memory[0]:.1f} of {memory[1]:.0f} GB"
        return line
