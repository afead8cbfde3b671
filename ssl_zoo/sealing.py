"""The lock of a study on test images: closed until its selection is sealed. Imports no torch.

A run of a study opens none, before and after. evaluate.py opens them for the study itself, which
has written it into its ledger before, and, once the selection is sealed, for its user.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_zoo.types import UserError

STUDY = "SSL_ZOO_STUDY"  # the folder of the study whose child this process is
TOKEN = "SSL_ZOO_TEST_TOKEN"  # which line of its ledger this process reads test under
PLAN, SELECTION, LEDGER = "plan.json", "selection.json", "ledger.jsonl"
_NAMED = ("id", "method", "config_sha", "seed")  # what a token says, as the ledger's line does


def study_of(path: Path) -> Path | None:
    """The folder of the study that a path lies in; None if it lies in none."""
    place = path.expanduser().resolve()
    found = (one for one in (place, *place.parents) if (one / PLAN).is_file())
    return next((one for one in found if (one / "study.yaml").is_file()), None)


def closed_in(folder: Path) -> None:
    """Close test images for this process and those that it starts, if the folder is of a study."""
    study = study_of(folder)
    if study is not None:
        os.environ[STUDY] = str(study)


def token_of(entry: Mapping[str, Any]) -> str:
    """What a process is given to read test under a line of the ledger."""
    return json.dumps({name: entry[name] for name in _NAMED})


def refusal() -> str:
    """Why this process must not open test images; "" if it may."""
    place = os.environ.get(STUDY)
    if not place:
        return ""
    study = Path(place)
    if not (study / SELECTION).is_file():
        return f"test is closed: the selection of the study {study} is not sealed"
    if TOKEN not in os.environ:
        return (
            f"test is closed to the runs of the study {study}: evaluate.py reads it once for each, "
            "by the study's ledger"
        )
    if not _is_in_ledger(study, os.environ[TOKEN]):
        return f"test is closed: {study / LEDGER} has not opened it for this run"
    return ""


def check_sealed(path: Path) -> None:
    """Before a run, or what lies in its folder, is scored on test, or exported to be so elsewhere.

    Raises:
        UserError: If it lies in a study whose selection is not sealed.
    """
    study = study_of(path)
    if study is not None and not (study / SELECTION).is_file():
        raise UserError(
            f"{path} is of the study {study}, whose selection is not sealed: test is read once, "
            "after that; val's scores are in its trials.csv"
        )


def _is_in_ledger(study: Path, token: str) -> bool:
    """Whether the last line with the token's id has opened test for what the token names."""
    try:
        named = json.loads(token)
        lines = (study / LEDGER).read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError):
        return False
    if not isinstance(named, dict):
        return False
    of_it = [entry for entry in entries if entry.get("id") == named.get("id")]
    return (
        bool(of_it)
        and of_it[-1].get("status") == "opened"
        and all(of_it[-1].get(name) == named.get(name) for name in _NAMED)
    )
