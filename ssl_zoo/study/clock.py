"""The time that a study has: its budget, what it has spent, and what was cut to keep it. No torch.

budget.json holds the seconds that the study was at work, whatever the pauses, and each cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from time import monotonic
from typing import Any

from ssl_zoo.study.folder import StudyFolder
from ssl_zoo.types import UserError

_UNITS = {"h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0}
_OFTEN = 5.0  # seconds
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)")


def seconds_of(budget: object) -> float:
    """The seconds of a budget such as 30min, 2h, 90s or 1h30min.

    Raises:
        UserError: If it is none.
    """
    text = str(budget).strip().lower()
    parts = _PART.findall(text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if _PART.sub("", text).strip() or not seconds:
        raise UserError(f"budget={budget}: give a time with its unit, as in 30min, 2h or 1h30min")
    return seconds


class Clock:
    """How long a study has been at work.

    Args:
        folder: The study's.
    """

    def __init__(self, folder: StudyFolder) -> None:
        self.folder = folder
        known = folder.read_json(folder.budget)
        self._before, self._begun = float(known.get("seconds", 0.0)), monotonic()
        self._saved = 0.0
        self.cuts: list[dict[str, Any]] = list(known.get("cuts", []))

    def spent(self) -> float:
        """Seconds of this and all earlier processes."""
        return self._before + monotonic() - self._begun

    def cut(self, settings: Mapping[str, Any], why: str) -> None:
        """Write what is changed, before it is done."""
        self.cuts.append({"settings": dict(settings), "why": why})
        self.save()

    def keep(self) -> None:
        """Write budget.json, unless that was done a moment ago."""
        if self.spent() - self._saved >= _OFTEN:
            self.save()

    def save(self) -> None:
        """Write budget.json."""
        self._saved = self.spent()
        content = {"seconds": round(self.spent(), 1), "cuts": self.cuts}
        self.folder.write_json(self.folder.budget, content)


def cut_settings(settings: Mapping[str, Any], cuts: list[dict[str, Any]]) -> dict[str, Any]:
    """A study's settings with what was cut in the place of what was planned."""
    found = dict(settings)
    for cut in cuts:
        found |= cut["settings"]
    return found
