"""`plan`: all that a study will do, composed, frozen, checked and counted. Trains nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import yaml

from ssl_zoo.console import duration, print_table
from ssl_zoo.provenance import code_version, sha_of
from ssl_zoo.study.checks import SOBOL
from ssl_zoo.study.clock import Clock
from ssl_zoo.study.counts import hours_of, run_seconds, runs_of
from ssl_zoo.study.folder import CEILING, FINAL, FLOOR, HPO, METHOD, ORACLE, RERUN, StudyFolder
from ssl_zoo.study.frozen import Frozen, freeze, thawed
from ssl_zoo.study.measuring import measured_of
from ssl_zoo.study.of_data import (
    check_amounts,
    check_data,
    check_folds,
    check_metric,
    few_images,
)
from ssl_zoo.study.pool import at_once
from ssl_zoo.study.settings import Settings
from ssl_zoo.study.sizing import fitted
from ssl_zoo.study.space import Space, space_of
from ssl_zoo.types import UserError, as_typed, listed
from ssl_zoo.writing import write_text

FORMAT = 1


@dataclass(frozen=True)
class Planned:
    """A study's methods, frozen, and what is searched.

    Attributes:
        settings: Of the study.
        space: What is searched.
        frozen: Each method's config, by name.
    """

    settings: Settings
    space: Space
    frozen: dict[str, Frozen]

    def held(self, method: str) -> dict[str, Any]:
        """What of a method's config must be equal, by place."""
        one = self.frozen[method]
        return one.held(one.job, self.settings.held, self.except_for())

    def except_for(self) -> list[str]:
        """What of the held places may differ: what is searched, and what is allowed to."""
        searched = [d.knob for method in self.frozen for d in self.space.of(method)]
        return sorted({*searched, *self.settings.allow_differ})


def frozen_of(settings: Settings) -> Planned:
    """Compose every method's config, and check that what is held is equal.

    Raises:
        UserError: If a config does not compose, or a held place differs.
    """
    searches = {name: one["search"] for name, one in settings.methods.items()}
    space = space_of(settings.search, searches)
    folds = settings.folds or []
    frozen = {
        method: freeze(
            method, settings.overrides_of(method), space.of(method), folds, settings.name
        )
        for method in settings.methods
    }
    planned = Planned(settings, space, frozen)
    _check_held(planned)
    return planned


def planned_of(settings: Settings, folder: StudyFolder) -> Planned:
    """A study's methods as its plan has frozen them.

    Raises:
        UserError: If a frozen config was changed since.
    """
    searches = {name: one["search"] for name, one in settings.methods.items()}
    space, folds = space_of(settings.search, searches), settings.folds or []
    frozen = {
        method: thawed(folder.configs / method, method, space.of(method), folds)
        for method in settings.methods
    }
    known = folder.read_json(folder.plan)["methods"]
    for method, one in frozen.items():
        if one.config_sha(one.job) != known[method]["config_sha"]:
            raise UserError(
                f"{folder.configs / method} was changed since the study was planned: restore it, "
                "or plan another study with out=DIR"
            )
    return Planned(settings, space, frozen)


def _check_held(planned: Planned) -> None:
    """Refuse methods that differ where they must not.

    Raises:
        UserError: Naming the knobs with their values.
    """
    held = {method: planned.held(method) for method in planned.frozen}
    allowed = planned.settings.allow_differ
    for place in planned.settings.held:
        if not any(one[place] for one in held.values()) and place not in allowed:
            raise UserError(f"held={place} is not a place of the config: remove it from held")
    flat = {
        method: {key: value for part in one.values() for key, value in part.items()}
        for method, one in held.items()
    }
    first, *others = flat
    said = []
    for other in others:
        for key in {**flat[first], **flat[other]}:
            values = [as_typed(flat[one].get(key)) for one in (first, other)]
            if flat[first].get(key) != flat[other].get(key):
                said.append(f"{key}={values[0]} of {first}, {values[1]} of {other}")
    if said:
        raise UserError(
            f"held, but not equal: {listed(said)}; give all methods one value by common, or name "
            "what may differ in allow_differ"
        )


def plan(settings: Settings, command: str) -> dict[str, Any]:
    """Plan a study, write study.yaml, plan.json and plan/, and print the plan.

    Args:
        settings: Of the study.
        command: The command line, for a comment.

    Returns:
        What plan.json holds.

    Raises:
        UserError: If the study cannot be as it is told.
    """
    folder, given = StudyFolder(settings.folder), asdict(settings)
    _check_place(folder)
    folder.budget.unlink(missing_ok=True)  # of an earlier plan, by which nothing was run
    clock = Clock(folder)
    planned = frozen_of(settings)
    _write_frozen(folder, planned)
    print(f"measuring {len(planned.frozen)} methods, a few steps each", flush=True)
    measured = measured_of(folder, settings, planned.frozen, clock)
    check_data(settings, measured)
    check_metric(settings, measured)
    check_folds(settings, measured)
    notes: list[str] = []
    if settings.budget is not None:
        planned, measured, notes = _within_budget(planned, measured, clock)
        settings = planned.settings
        _write_frozen(folder, planned)
        clock.save()
    lengths = {method: one.job.config["epochs"] for method, one in planned.frozen.items()}
    check_amounts(settings, measured, lengths)
    found = _counted(planned, measured)
    found |= {"notes": [*notes, *found["notes"]], "given": given}
    settings.write(folder.settings, command)
    folder.write_json(folder.plan, found)
    print_plan(folder, settings, found)
    return found


def _check_place(folder: StudyFolder) -> None:
    """Refuse a folder that is somebody else's, such as that of the images.

    Raises:
        UserError: Naming what it holds.
    """
    within = folder.path.iterdir() if folder.path.is_dir() else iter(())
    others = sorted(path.name for path in within if path.is_dir() and path != folder.configs)
    if others and not folder.plan.is_file():
        raise UserError(
            f"{folder} holds other folders ({listed(others, 3)}): give out=DIR, a new folder"
        )


def _within_budget(
    planned: Planned, measured: dict[str, dict[str, Any]], clock: Clock
) -> tuple[Planned, dict[str, dict[str, Any]], list[str]]:
    """A smaller study, its measurements, and what was made smaller."""
    settings = planned.settings
    epochs = next(iter(planned.frozen.values())).job.config["epochs"]
    slots = at_once(settings)[2]
    settings, notes = fitted(settings, measured, epochs, clock.spent(), slots)
    smaller = frozen_of(settings)
    share = next(iter(smaller.frozen.values())).job.config["epochs"] / epochs
    lengths = ("steps", "images", "views", "pixels")
    own = {
        name: measured[name] | {key: round(measured[name][key] * share) for key in lengths}
        for name in smaller.frozen
    }
    return smaller, own, notes


def _write_frozen(folder: StudyFolder, planned: Planned) -> None:
    """The resolved config of each method, its job, and the data set for what has no checkpoint."""
    for method, frozen in planned.frozen.items():
        frozen.job.write(folder.configs / method)
        text = yaml.safe_dump(frozen.job.config, sort_keys=False)
        head = f"# frozen for the study; config_sha {frozen.config_sha(frozen.job)}"
        write_text(folder.configs / f"{method}.yaml", f"{head}\n{text}")
    config = next(iter(planned.frozen.values())).job.config
    for group in ("dataset", "backbone"):
        text = yaml.safe_dump(config[group], sort_keys=False)
        write_text(folder.configs / "conf" / group / "study.yaml", text)


def _counted(planned: Planned, measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What plan.json holds."""
    settings = planned.settings
    methods = {m: _method(planned, m, one) for m, one in measured.items()}
    runs = runs_of(settings)
    first = next(iter(measured.values()))
    largest = max(one["checkpoint_bytes"] for one in measured.values())
    data = {key: first["data"][key] for key in ("images", "classes", "overlaps", "duplicates")}
    shas = {"sha": first["data_sha"], "contents_sha": first["data"]["sha"]}
    return {
        "format": FORMAT,
        "name": settings.name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings_sha": settings.sha(),
        "code": code_version(),
        "methods": methods,
        "data": shas | data,
        "runs": runs,
        "hours": hours_of(settings, methods),
        "disk_bytes": largest * (sum(runs[s] for s in (HPO, RERUN, FINAL)) + at_once(settings)[2]),
        "notes": _notes(planned, first["data"]),
    }


def _method(planned: Planned, method: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    frozen = planned.frozen[method]
    held = planned.held(method)
    names = (
        *("parameters", "backbone_parameters", "steps", "images", "views", "pixels"),
        *("seconds_per_step", "overhead_seconds", "monitor_seconds", "checkpoint_bytes", "device"),
    )
    every = frozen.job.config["monitor"]["every_n_epochs"]
    return {
        "config_sha": frozen.config_sha(frozen.job),
        "held_sha": sha_of(held),
        "held": held,
        "dimensions": {one.knob: one.text for one in planned.space.of(method)},
        "epochs": frozen.job.config["epochs"],
        "monitorings": 1 + math.ceil(frozen.job.config["epochs"] / every),
        "options": frozen.job.options,
        **{name: measured[name] for name in names},
    }


def _notes(planned: Planned, data: Mapping[str, Any]) -> list[str]:
    """Lines that the report repeats."""
    settings, notes = planned.settings, few_images(data["images"])
    for pair, count in data["overlaps"].items():
        if count:
            notes.append(
                f"{count} images are in both splits {pair}: G4 fails unless they are taken out "
                "before the study is planned"
            )
    if data["duplicates"]:
        notes.append(f"{data['duplicates']} images of train repeat another one of it")
    if settings.sampler != SOBOL:
        notes.append(f"sampler={settings.sampler}: points depend on scores, methods share none")
    if settings.allow_differ:
        notes.append(f"allowed to differ: {', '.join(settings.allow_differ)}")
    return notes


def print_plan(folder: StudyFolder, settings: Settings, found: Mapping[str, Any]) -> None:
    """Print the plan as tables and lines."""
    rows = [
        [
            method,
            str(len(one["dimensions"])),
            str(settings.trials),
            f"{one['epochs']}",
            f"{one['steps']:,}",
            f"{one['images']:,}",
            f"{one['parameters']:,}",
            duration(one["seconds_per_step"]),
            duration(run_seconds(one)),
        ]
        for method, one in found["methods"].items()
    ]
    columns = ["method", "dimensions", "trials", "epochs", "steps", "images a run"]
    print_table(f"study {settings.name}", [*columns, "parameters", "a step", "a run, about"], rows)
    for method, one in found["methods"].items():
        searched = ", ".join(f"{knob} {text}" for knob, text in one["dimensions"].items())
        print(f"{method} searches {searched or 'nothing'}")
    stages = {
        HPO: "trials", RERUN: "reruns", FINAL: "final runs", CEILING: "supervised runs",
        METHOD: "readings of test", FLOOR: "of floors", ORACLE: "of the oracle",
    }  # fmt: skip
    counts = {name: found["runs"][key] for key, name in stages.items()}
    print(", ".join(f"{count:,} {name}" for name, count in counts.items() if count))
    data = found["data"]
    images = ", ".join(f"{name} {count:,}" for name, count in data["images"].items())
    print(f"images: {images} in {len(data['classes'])} classes")
    print(
        f"about {duration(3600 * found['hours'])} on this machine, {at_once(settings)[2]} runs at "
        f"once; at most {found['disk_bytes'] / 1e6:,.0f} MB of checkpoints"
    )
    for note in found["notes"]:
        print(f"note: {note}")
    print(f"planned in {folder}; nothing was trained", flush=True)
