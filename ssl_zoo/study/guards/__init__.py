"""The guards of a fair comparison: each reads a study's folder again and says what is unfair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssl_zoo.study.guards.equal import check_budget, check_code, check_held
from ssl_zoo.study.guards.leaks import check_leaks
from ssl_zoo.study.guards.of_data import check_data, check_names, check_seeds
from ssl_zoo.study.guards.of_selection import check_edges, check_recomputed, check_stale
from ssl_zoo.study.guards.of_test import check_lock, check_once
from ssl_zoo.study.guards.outcome import FAILS, OPEN, PASSES, WARNS, Outcome
from ssl_zoo.study.reading import Study

GUARDS: dict[str, tuple[str, Callable[[Study, Outcome], None]]] = {
    "G1": ("test is locked until the selection is sealed", check_lock),
    "G2": ("test is read once by each final run", check_once),
    "G3": ("scores and the selection are those of the runs' files", check_recomputed),
    "G4": ("no image is in two of train, val and test", check_leaks),
    "G5": ("what is held equal is equal", check_held),
    "G6": ("equal trials, seeds and budget", check_budget),
    "G7": ("one commit, no changes, the same libraries and device", check_code),
    "G8": ("the same images in all runs", check_data),
    "G9": ("seeds are different, and make different runs", check_seeds),
    "G10": ("no selected value is at the edge of its range", check_edges),
    "G11": ("scores are those of the last step", check_stale),
    "G12": ("selection is on val, and val is not test", check_names),
}

__all__ = ["FAILS", "GUARDS", "OPEN", "PASSES", "WARNS", "Outcome", "check"]


def check(study: Study) -> list[Outcome]:
    """What all guards say of a study."""
    waived = _waived(study.settings.get("waive"))
    found = []
    for guard, (title, run) in GUARDS.items():
        outcome = Outcome(guard, title, waived=guard in waived)
        run(study, outcome)
        found.append(outcome)
    return found


def _waived(given: Any) -> set[str]:
    return {str(one).upper() for one in (given if isinstance(given, list) else [given or ""])}
