"""What a plan measures: a few steps of each method, in children. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
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

MEASURE, MEASURED = "ssl_zoo.training.measure", "measured.json"
_FEWEST, _MEASURING = 2, 0.1  # methods, and the part of a budget


def measured_of(
    folder: StudyFolder, settings: Settings, frozen: Mapping[str, Frozen], clock: Clock
) -> dict[str, dict[str, Any]]:
    """A few steps of each method; the images are hashed once for each data set.

    With a budget, no more methods than a tenth of it measures, but two.

    Args:
        folder: The study's, where the frozen configs are.
        settings: Of the study.
        frozen: Its methods.
        clock: What the study has spent.

    Raises:
        UserError: If a method cannot be run.
    """
    jobs = at_once(settings)
    machine = Machine(*jobs)
    found: dict[str, dict[str, Any]] = {}
    looked: dict[str, dict[str, Any]] = {}
    budget = seconds_of(settings.budget) if settings.budget else math.inf
    for method, one in frozen.items():
        if len(found) >= _FEWEST and clock.spent() > _MEASURING * budget:
            break
        place = folder.configs / method
        data = sha_of(one.job.config["dataset"])
        args = [str(place), str(time()), *([] if data in looked else ["contents"])]
        output = place / "output.txt"
        with (
            machine.part(one.job.config) as env,
            output.open("wb") as file,
            trusting(one.trust),
            start_child(MEASURE, args, env, file) as process,
        ):
            code = process.wait()
        if code or not (place / MEASURED).is_file():
            raise UserError(f"methods.{method}: {last_line(output) or f'exit code {code}'}")
        measured = json.loads((place / MEASURED).read_text(encoding="utf-8"))
        if data not in looked and not looked:
            (place / folder.images.name).replace(folder.images)
        looked.setdefault(data, measured.get("data", {}))
        found[method] = {**measured, "data": looked[data]}
        (place / MEASURED).unlink()
        print(f"{method}: a step takes {duration(measured['seconds_per_step'])}", flush=True)
    return found
