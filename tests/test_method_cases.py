"""Every method states cases for the harness, so that none is left out of it."""

from __future__ import annotations

import pytest

from helpers.command_line import command_line
from helpers.method_cases import cases
from ssl_zoo import methods

METHODS = [
    method
    for method in vars(methods).values()
    if isinstance(method, type) and issubclass(method, methods.Method) and method != methods.Method
]


def test_methods_are_found() -> None:
    assert len(METHODS) >= 6


def check_stated(kind: str, stated: set[str]) -> None:
    missing = {method.__name__ for method in METHODS} - stated
    assert not missing, f"state {kind} in the test files of {', '.join(sorted(missing))}"


def test_steps_in_two_processes() -> None:
    made = {type(make()).__name__ for make in cases("TWO_PROCESSES").values()}
    check_stated("TWO_PROCESSES", made)


def test_pseudo_code() -> None:
    made = {type(case.make()).__name__ for case in cases("PSEUDO_CODE").values()}
    check_stated("PSEUDO_CODE", made)


@pytest.mark.slow  # all are composed
def test_resumed_runs() -> None:
    found = set()
    for overrides in cases("RESUMES").values():
        with command_line("train", "name=test", *overrides) as cfg:
            found.add(cfg.method.module._target_.rpartition(".")[2])
    check_stated("RESUMES", found)
