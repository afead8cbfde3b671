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


@pytest.mark.parametrize("method", METHODS)
def test_its_steps_in_two_processes(method: type) -> None:
    made = [type(make()) for make in cases("TWO_PROCESSES").values()]
    assert method in made, f"state TWO_PROCESSES in the test file of {method.__name__}"


@pytest.mark.parametrize("method", METHODS)
def test_its_pseudo_code(method: type) -> None:
    made = [type(case.make()) for case in cases("PSEUDO_CODE").values()]
    assert method in made, f"state PSEUDO_CODE in the test file of {method.__name__}"


@pytest.fixture(scope="module")
def resumed() -> set[str]:
    """The methods of the runs that are stopped and resumed."""
    found = set()
    for overrides in cases("RESUMES").values():
        with command_line("train", "name=test", *overrides) as cfg:
            found.add(cfg.method.module._target_.rpartition(".")[2])
    return found


@pytest.mark.parametrize("method", METHODS)
def test_its_resumed_run(method: type, resumed: set[str]) -> None:
    assert method.__name__ in resumed, f"state RESUMES in the test file of {method.__name__}"
