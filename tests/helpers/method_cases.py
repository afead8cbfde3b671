"""The cases that the methods' test files state, so that a new method needs its test file only.

Each tests/methods/test_*.py may name, by the case:

    TWO_PROCESSES   makers of methods whose steps in two processes must equal those in one
    RUNS_OF_TWO     overrides of complete runs in two processes, likewise
    RESUMES         overrides of runs that are stopped in mid-epoch and resumed
    PSEUDO_CODE     helpers.pseudo_code.Case: a method, and its paper's loop in plain PyTorch

The files are loaded by path, in the processes that are spawned too.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import Any

from helpers.paths import ROOT


@cache
def _files() -> list[ModuleType]:
    loaded = []
    for path in sorted((ROOT / "tests" / "methods").glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"method_cases.{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look there
        spec.loader.exec_module(module)
        loaded.append(module)
    return loaded


@cache
def cases(kind: str) -> dict[str, Any]:
    """What the files state under this name, together."""
    found: dict[str, Any] = {}
    for module in _files():
        own = getattr(module, kind, {})
        twice = found.keys() & own.keys()
        assert not twice, f"{module.__file__} states {kind} {sorted(twice)} a second time"
        found |= own
    assert found, f"no file of tests/methods states {kind}"
    return found
