"""When a callback is due, and how it logs between epochs."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from pytorch_lightning import Trainer


def stepped(trainer: Trainer, batch_idx: int) -> bool:
    """Whether this micro-batch ended an optimizer step; an epoch's last one always does."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch


def log_due(trainer: Trainer, batch_idx: int) -> bool:
    """Whether this step is logged: each n-th, and the first and the last of an epoch."""
    first = batch_idx < trainer.accumulate_grad_batches
    last = trainer.is_last_batch or trainer.global_step == trainer.max_steps
    return stepped(trainer, batch_idx) and (first or last or lightning_logs(trainer))


def log_comes(trainer: Trainer) -> bool:
    """Whether the optimizer step that is about to be done will be logged: `log_due`, earlier."""
    loop = trainer.fit_loop.epoch_loop
    first = loop.batch_idx < trainer.accumulate_grad_batches
    step = trainer.global_step + 1
    last = trainer.is_last_batch or step == trainer.max_steps
    every = getattr(trainer, "log_every_n_steps", 50)
    return first or last or step % every == 0 or trainer.should_stop


def lightning_logs(trainer: Trainer) -> bool:
    """Whether Lightning itself logs the step that was just done."""
    every = getattr(trainer, "log_every_n_steps", 50)
    return trainer.global_step % every == 0 or trainer.should_stop


def epoch_due(trainer: Trainer, every_n_epochs: int) -> bool:
    """Whether a monitor that runs every few epochs, and after the last, is due."""
    epoch = trainer.current_epoch + 1
    last = epoch == trainer.max_epochs or trainer.global_step == trainer.max_steps
    return last or epoch % every_n_epochs == 0


def log(trainer: Trainer, metrics: dict[str, Any]) -> None:
    """Write to the loggers now; Lightning's own `log` would cost time on every step.

    A step is numbered from 0, as in Lightning's logs.
    """
    scalars = {name: float(value) for name, value in metrics.items()}
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=max(0, trainer.global_step - 1))


@runtime_checkable
class Alerting(Protocol):
    """A logger that notifies people."""

    def alert(self, title: str, message: str) -> None:
        """Notify whoever has asked for it."""


def alert(trainer: Trainer, title: str, message: str) -> None:
    """Notify people by the loggers that can."""
    for logger in trainer.loggers:
        if isinstance(logger, Alerting):
            logger.alert(title, message)
