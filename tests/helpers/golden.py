"""Values that the papers' official code computed, in float64 (tests/golden/*.json)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import torch
from torch import Tensor

from helpers.paths import ROOT


@cache
def _files() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "tests" / "golden").glob("*.json")):
        for name, entry in json.loads(path.read_text()).items():
            if name in found:  # each file has the wrong forms of its own methods
                found[name]["expected"] |= entry["expected"]
            else:
                found[name] = entry
    return found


def golden(name: str) -> dict[str, Any]:
    """An entry: {source, settings, inputs, expected}."""
    entry: dict[str, Any] = _files()[name]
    return entry


def golden_names(prefix: str) -> list[str]:
    return [name for name in _files() if name.startswith(prefix)]


def wrong_forms(*methods: str) -> list[tuple[str, str]]:
    """(entry, form) of what a right implementation must not compute on the entry's inputs."""
    forms = golden("negative/wrong_forms")["expected"]
    mine = [name for name in forms if name.split("/")[0] in methods]
    return [(name, form) for name in mine for form in forms[name]["wrong"]]


def wrong_value(name: str, form: str) -> float:
    value: float = golden("negative/wrong_forms")["expected"][name]["wrong"][form]["value"]
    return value


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def assert_golden(ours: Tensor, theirs: Any) -> None:
    """Equal to 1e-9 of the largest value, as the file states."""
    expected = tensor(theirs)
    largest = float(expected.abs().max()) or 1.0
    torch.testing.assert_close(ours.detach(), expected, atol=1e-9 * largest, rtol=0)
