"""Reports a run's objective to its trial of a search, which may prune it."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo.callbacks.due import epoch_due
from ssl_zoo.metric_names import objective_of
from ssl_zoo.search import TrialLink


class TrialReport(Callback):
    """Tells the study the objective of each validation, and ends the run if it is pruned.

    The last validation only reports: the run has come to its end.

    Args:
        link: The run's trial.
        folder: Of the run.
        every_n_epochs: How often the objective is measured.

    Attributes:
        stopping_reason_message: Why the run ended; None if it did not.
    """

    def __init__(self, link: TrialLink, folder: Path, every_n_epochs: int) -> None:
        self.link, self.folder, self.every_n_epochs = link, folder, every_n_epochs
        self.stopping_reason_message: str | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not epoch_due(trainer, self.every_n_epochs):
            return
        said = self._report(trainer) if trainer.is_global_zero else None
        self.stopping_reason_message = trainer.strategy.broadcast(said)
        if self.stopping_reason_message:
            trainer.should_stop = True

    def _report(self, trainer: Trainer) -> str | None:
        """Why the trial is pruned; None if it goes on."""
        from ssl_zoo.search.study import trial_of  # imports Optuna

        logged, epochs = trainer.callback_metrics, trainer.current_epoch + 1
        metric = objective_of(logged, self.link.objective)
        if metric is None:
            return None
        name = metric.name
        trial = trial_of(self.link)
        if epochs not in trial.storage.get_trial(self.link.trial).intermediate_values:
            trial.report(float(logged[name]), epochs)  # not again what a resumed run repeats
        last = epochs == trainer.max_epochs or trainer.global_step == trainer.max_steps
        if last or not trial.should_prune():
            return None
        self.link.prune(self.folder, epochs)
        return f"the search prunes it after epoch {epochs}, {name} was {float(logged[name]):.3f}."
