"""What a plan measures: a few steps of each method, in children. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from subprocess import Popen
from time import time
from typing import Any

from ssl_zoo.config import trusting
from ssl_zoo.console import duration
from ssl_zoo.provenance import sha_of
from ssl_zoo.study.clock import Clock, seconds_of
from ssl_zoo.study.folder import StudyFolder
from ssl_zoo.study.frozen import Frozen
from ssl_zoo.study.pool import at_once, last_line
from ssl_zoo.study.settings import Settings
from ssl_zoo.training.child import start_child
from ssl_zoo.training.machine import Machine
from ssl_zoo.types import UserError

MEASURE, MEASURED, _OUTPUT = "ssl_zoo.training.measure", "measured.json", "output.txt"
_FEWEST, _MEASURING = 2, 0.1  # methods, and the part of a budget


def measured_of(
    folder: StudyFolder, settings: Settings, frozen: Mapping[str, Frozen], clock: Clock
) -> dict[str, dict[str, Any]]:
    """A few steps of each method; the images are hashed once for each data set.

    On CPUs as many methods are measured side by side as will run so, since they slow each other.
    With a budget, no more methods than a tenth of it measures, but two.

    Args:
        folder: The study's, where the frozen configs are.
        settings: Of the study.
        frozen: Its methods.
        clock: What the study has spent.

    Raises:
        UserError: If a method cannot be run.
    """
    cores, gpus, slots = at_once(settings)
    machine, together = Machine(cores, gpus, slots), 1 if gpus else slots
    found: dict[str, dict[str, Any]] = {}
    looked: dict[str, dict[str, Any]] = {}
    names = list(frozen)
    budget = seconds_of(settings.budget) if settings.budget else math.inf
    while (rest := names[len(found) :]) and (
        len(found) < _FEWEST or clock.spent() <= _MEASURING * budget
    ):
        group = rest[:together]
        again = names[: len(found)][: together - len(group)]  # so that the last ones have company
        codes = _side_by_side(folder, machine, {m: frozen[m] for m in [*group, *again]}, looked)
        for method in group:
            measured = _read(folder, method, codes[method])
            data = sha_of(frozen[method].job.config["dataset"])
            if not looked:
                (folder.configs / method / folder.images.name).replace(folder.images)
            looked.setdefault(data, measured.get("data", {}))
            found[method] = {**measured, "data": looked[data]}
            print(f"{method}: a step takes {duration(measured['seconds_per_step'])}", flush=True)
        for method in [*group, *again]:
            (folder.configs / method / MEASURED).unlink(missing_ok=True)
    return found


def _side_by_side(
    folder: StudyFolder, machine: Machine, frozen: Mapping[str, Frozen], looked: Mapping[str, Any]
) -> dict[str, int]:
    """The exit codes of children that measure these methods; the first of each data set hashes."""
    looking = set(looked)
    started: dict[str, Popen[bytes]] = {}
    with ExitStack() as stack:
        for method, one in frozen.items():
            place, data = folder.configs / method, sha_of(one.job.config["dataset"])
            args = [str(place), str(time()), *([] if data in looking else ["contents"])]
            looking.add(data)
            env = stack.enter_context(machine.part(one.job.config))
            file = stack.enter_context((place / _OUTPUT).open("wb"))
            with trusting(one.trust):
                child = start_child(MEASURE, args, env, file)
            started[method] = stack.enter_context(child)
        return {method: child.wait() for method, child in started.items()}


def _read(folder: StudyFolder, method: str, code: int) -> dict[str, Any]:
    """What a child has written."""
    place = folder.configs / method
    if code or not (place / MEASURED).is_file():
        raise UserError(f"methods.{method}: {last_line(place / _OUTPUT) or f'exit code {code}'}")
    measured: dict[str, Any] = json.loads((place / MEASURED).read_text(encoding="utf-8"))
    return measured
