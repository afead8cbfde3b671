"""The frozen configs of a study: composed once, hashed, and changed by a trial's values alone."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.config import (
    TRAIN_ROOTS,
    check_choices,
    check_dataset,
    check_knobs,
    check_overrides,
    explain,
    flatten,
    nearest,
    register_resolvers,
    to_plain,
    wiring_of,
    with_absolute_places,
)
from ssl_zoo.config.changes import CHANGEABLE, dependent
from ssl_zoo.config.compose import composed_with_options
from ssl_zoo.config.quoting import override
from ssl_zoo.config.words import check_words
from ssl_zoo.provenance import sha_of
from ssl_zoo.run_folder import moved
from ssl_zoo.study.space import Dimension, Value
from ssl_zoo.training.frozen import Job
from ssl_zoo.types import UserError

# Of the place, the machine and one run; a configuration is what is left.
_ASIDE = ({*CHANGEABLE} - {"epochs"}) | {"seed", "name", "run_dir", "trust", "sweep", "dry_run"}
_ASIDE |= {"num_nodes", "strategy", "log_every_n_steps", "resume", "objective"}
_NOWHERE = "RUN"


@dataclass(frozen=True)
class Frozen:
    """A method's config, composed once.

    Attributes:
        method: Its name in the study.
        job: Of a run without any trial's values.
        aside: Keys that change from run to run: folds, and what `_ASIDE` names.
        dimensions: What is searched.
        trust: Packages of the user's that its runs may call.
    """

    method: str
    job: Job
    aside: tuple[str, ...]
    dimensions: list[Dimension]
    trust: tuple[str, ...] = ()

    def run(
        self, folder: Path, values: Mapping[str, Value], seed: int, fold: str | None, name: str
    ) -> Job:
        """The job of a run.

        Args:
            folder: The run's.
            values: Of its trial, by knob.
            seed: Of the run.
            fold: Its override; None without folds.
            name: Of the run.
        """
        cfg = OmegaConf.create(copy.deepcopy(self.job.composed))
        place = str(folder.absolute())
        own = {**values, **_fold_value(fold), "seed": seed, "run_dir": place, "name": name}
        for key, value in own.items():
            OmegaConf.update(cfg, key, value, merge=False)
        return replace(
            _job_of(cfg, self.job.overrides, self.job.options),
            folder=place,
            shown=str(folder),
            overrides=[*self.job.overrides, *(f"{key}={value}" for key, value in own.items())],
        )

    def config_sha(self, job: Job) -> str:
        """Of a run's resolved config without places, seed and fold."""
        return sha_of(_without(job, self.aside))

    def held(self, job: Job, paths: Iterable[str], except_for: Iterable[str]) -> dict[str, Any]:
        """What of a run's config must be equal over methods, by place.

        Args:
            job: The run's.
            paths: The places that are held.
            except_for: What is searched, and what may differ.
        """
        flat = _without(job, [*self.aside, *except_for])
        return {
            path: {k: v for k, v in flat.items() if k == path or k.startswith(f"{path}.")}
            for path in paths
        }


def freeze(
    method: str, overrides: list[str], dimensions: list[Dimension], folds: Iterable[str], name: str
) -> Frozen:
    """Compose and check a method's config.

    Args:
        method: Its name in the study.
        overrides: Of train.py.
        dimensions: What is searched.
        folds: Overrides, one for each fold.
        name: Of the study.

    Raises:
        UserError: Naming the method, and what train.py would say.
    """
    register_resolvers()
    try:
        return _freeze(method, overrides, dimensions, list(folds), name)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        raise UserError(f"methods.{method}: {explain(error, 'train')}") from error


def thawed(place: Path, method: str, dimensions: list[Dimension], folds: Iterable[str]) -> Frozen:
    """A method's config as a plan has frozen it.

    Args:
        place: Where its job was written.
        method: Its name in the study.
        dimensions: What is searched.
        folds: Overrides, one for each fold.
    """
    register_resolvers()
    job = Job.read(place)
    trust = job.composed.get("trust") or []
    trust = [trust] if isinstance(trust, str) else trust
    return Frozen(method, job, _aside(folds), dimensions, tuple(map(str, trust)))


def _aside(folds: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(_ASIDE | {fold.partition("=")[0] for fold in folds}))


def _freeze(
    method: str, overrides: list[str], dimensions: list[Dimension], folds: list[str], name: str
) -> Frozen:
    check_choices(overrides)
    check_words(overrides)
    own = [override("name", name), f"run_dir={_NOWHERE}"]
    cfg, options = composed_with_options([*overrides, *own])
    check_overrides(cfg, overrides, options, TRAIN_ROOTS)
    check_dataset(cfg)
    check_knobs(cfg)
    trust = [cfg.trust] if isinstance(cfg.trust, str) else list(cfg.trust or [])
    if cfg.dry_run or cfg.trainer.fast_dev_run:
        raise UserError("a study trains its runs: remove dry_run and trainer.fast_dev_run")
    knobs = [*(one.knob for one in dimensions), *(fold.partition("=")[0] for fold in folds)]
    for knob in knobs:
        _check_knob(cfg, knob)
    cfg = with_absolute_places(cfg)
    job = _job_of(cfg, overrides, options)
    frozen = Frozen(method, job, _aside(folds), dimensions, tuple(map(str, trust)))
    for share in (0.0, 1.0 - 2**-30):  # ends that a knob refuses are refused now
        for one in dimensions:
            OmegaConf.update(cfg, one.knob, one.at(share), merge=False)
        check_knobs(cfg)
    return frozen


def _check_knob(cfg: DictConfig, knob: str) -> None:
    """Refuse a searched knob that the config does not have, or that nothing reads."""
    absent = object()
    if OmegaConf.select(cfg, knob, default=absent) is absent:
        raw: Any = OmegaConf.to_container(cfg, resolve=False)
        known = [key for key in flatten(raw) if ".module." not in key]
        raise UserError(
            f"{knob} is searched, but not a key of its config: {nearest(knob, known)} (what other "
            "methods have alone goes below methods.NAME.search)"
        )
    try:
        check_overrides(cfg, [f"{knob}="], [], TRAIN_ROOTS)
    except UserError as error:
        raise UserError(f"{knob} is searched, but no chosen part reads it") from error


def _job_of(cfg: DictConfig, overrides: list[str], options: Mapping[str, str]) -> Job:
    """The job of a whole run from its config as composed."""
    config = to_plain(cfg)
    del config["trust"], config["dry_run"]  # a file must not vouch for itself
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    return Job(
        config=config,
        folder=str(config["run_dir"]),
        shown=str(config["run_dir"]),
        resume=False,
        new_schedule=False,
        changes=[],
        wiring=wiring_of(cfg),
        composed=raw,
        overrides=list(overrides),
        log_level=logging.INFO,
        options=dict(options),
        whole=True,
    )


def _fold_value(fold: str | None) -> dict[str, Any]:
    if fold is None:
        return {}
    key, _, text = fold.partition("=")
    value: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"x={text}"]))
    return {key: value["x"]}


def _without(job: Job, keys: Iterable[str]) -> dict[str, Any]:
    """A run's resolved config, flat, without these keys and what only repeats or follows them."""
    keys = list(keys)
    config = moved(job.config, job.config["run_dir"], _NOWHERE)
    written = {k: v for k, v in flatten(job.composed).items() if isinstance(v, str)}
    follows = [*keys, *dependent(written, keys)]
    return {
        key: value
        for key, value in flatten(config).items()
        if not any(key == one or key.startswith(f"{one}.") for one in follows)
    }
