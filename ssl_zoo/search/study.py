"""Optuna's side of a search: the storage, the sampler and the pruner."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from hydra.utils import instantiate
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, GridSampler, QMCSampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ssl_zoo.config import check_types
from ssl_zoo.search.link import TrialLink
from ssl_zoo.types import UserError, first_line

JOURNAL = "optuna_journal.log"
_REFUSALS = (TypeError, ValueError)
optuna.logging.set_verbosity(optuna.logging.WARNING)  # each trial's run says what it does


def opened(storage: str) -> BaseStorage:
    """The storage of a file or a URL.

    Raises:
        UserError: If it cannot be opened.
    """
    try:
        if "://" in storage:
            return optuna.storages.get_storage(storage)
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(storage))
    except Exception as error:  # of the database's driver
        raise UserError(
            f"hydra.sweeper.storage={storage} cannot be opened: {first_line(error)}"
        ) from error


def pruner_of(node: Mapping[str, Any]) -> BasePruner:
    """The pruner of a config.

    Raises:
        UserError: If it refuses its values.
    """
    return _built(node, "pruner")  # type: ignore[no-any-return]


def _built(node: Mapping[str, Any], what: str, **more: Any) -> Any:
    check_types(dict(node), f"hydra.sweeper.{what}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return instantiate({**node, "_convert_": "all"}, **more)
        except Exception as error:
            cause = error.__cause__ if isinstance(error.__cause__, _REFUSALS) else error
            raise UserError(f"hydra.sweeper.{what}: {first_line(cause)}") from error


def trial_of(link: TrialLink) -> Trial:
    """The trial of a run, to report to."""
    study = optuna.load_study(
        storage=opened(link.storage), study_name=link.study, pruner=pruner_of(link.pruner)
    )
    return Trial(study, link.trial)


def is_grid(sampler: Mapping[str, Any]) -> bool:
    """Whether a sampler's config needs the values of each knob."""
    return str(sampler["_target_"]).endswith(f".{GridSampler.__name__}")


class NumberedSampler(BaseSampler):
    """A sampler whose draws depend on the trial's number, not on how many this process has asked.

    So a search that goes on does not repeat its first points, as one generator would that starts
    again from its seed. Sequences and grids have the point's number in the storage.

    Args:
        node: The config of one of Optuna's samplers, with its seed.
        grid: The values of each knob, for a grid.
    """

    def __init__(self, node: Mapping[str, Any], grid: Mapping[str, Sequence[Any]] | None) -> None:
        self.node, self.more = node, {"search_space": dict(grid)} if grid else {}
        self.inner: BaseSampler = _built(node, "sampler", **self.more)
        self.is_numbered = isinstance(self.inner, GridSampler | QMCSampler)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if not self.is_numbered:
            text = f"{self.node['seed']} {trial.number}"
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
            self.inner = _built({**self.node, "seed": seed}, "sampler", **self.more)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        if not isinstance(self.inner, GridSampler):  # whose end stops a loop that is not ours
            self.inner.after_trial(study, trial, state, values)
