"""trial.json: how a run knows of which trial it is, in whichever process. Imports no Optuna."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ssl_zoo.writing import read_json, write_text

_NAME = "trial.json"


@dataclass(frozen=True)
class TrialLink:
    """A run's trial.

    Attributes:
        storage: The study's, see `study.opened`.
        study: Its name.
        trial: The trial's id in the storage.
        number: Its number in the study.
        objective: The metric that is searched for; None = the first objective that is logged.
        pruner: The config of Optuna's pruner.
        pruned: The epochs after which it was pruned.
    """

    storage: str
    study: str
    trial: int
    number: int
    objective: str | None
    pruner: dict[str, Any]
    pruned: int | None = None

    @classmethod
    def of(cls, folder: Path) -> TrialLink | None:
        """That of a run's folder; None where the run is of no search."""
        path = folder / _NAME
        return cls(**read_json(path)) if path.is_file() else None

    def write(self, folder: Path) -> None:
        write_text(folder / _NAME, json.dumps(asdict(self), indent=2) + "\n")

    def prune(self, folder: Path, epochs: int) -> None:
        """Write that the trial was pruned."""
        replace(self, pruned=epochs).write(folder)


def was_pruned(folder: Path) -> bool:
    """Whether a search has ended the run in a folder before its end."""
    link = TrialLink.of(folder)
    return link is not None and link.pruned is not None
