"""The names in conf/ are public: they are saved in checkpoints, and moving a file breaks none."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import yaml

from helpers.paths import ROOT


def targets(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(targets, node))
    if not isinstance(node, dict):
        return set()
    own = {node["_target_"]} if "_target_" in node else set()
    return own.union(*map(targets, node.values()))


TARGETS = sorted(
    set().union(*(targets(yaml.safe_load(p.read_text())) for p in (ROOT / "conf").rglob("*.yaml")))
)


@pytest.mark.parametrize("target", [t for t in TARGETS if t.startswith("ssl_zoo.")])
def test_a_target_is_handed_out_by_its_package(target: str) -> None:
    package, _, name = target.rpartition(".")
    module = import_module(package)
    assert module.__file__ is not None
    assert module.__file__.endswith("__init__.py"), f"{package} is a file, not a package"
    assert name in module.__all__
    assert callable(getattr(module, name))
