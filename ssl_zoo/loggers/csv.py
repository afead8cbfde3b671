"""metrics.csv, which every run writes."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from ssl_zoo.metric_names import EPOCH, IMAGES_SEEN, WALL_SECONDS
from ssl_zoo.run_folder import RunFolder


class CSVLog(Logger):
    """Appends a row for each metric to metrics.csv; a resumed run goes on in the same file.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self._timed: int | None = None  # the step whose time is written

    @property
    def name(self) -> str:
        return ""  # ModelCheckpoint's folder is then ours: run_dir/NAME/VERSION/checkpoints

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """The run folder holds the config already."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        place = {name: metrics[name] for name in (EPOCH, IMAGES_SEEN) if name in metrics}
        hidden = {*place, *([WALL_SECONDS] if step == self._timed else [])}
        self._timed = step
        rows = {name: value for name, value in metrics.items() if name not in hidden}
        self.folder.append_metrics(step, rows, **{k: int(value) for k, value in place.items()})
