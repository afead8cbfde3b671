"""What a slot's option says by default is what the class says that it builds."""

from __future__ import annotations

import inspect
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from ssl_zoo.config import CONFIG_DIR, register_resolvers

Key = tuple[str, str]  # a class and its argument


def parts(node: Any) -> list[dict[str, Any]]:
    """Every part of ours in a config, the outermost first."""
    if not isinstance(node, dict):
        return []
    own = [node] if str(node.get("_target_", "")).startswith("ssl_zoo.") else []
    return own + [part for value in node.values() for part in parts(value)]


def stated() -> dict[Key, dict[str, Any]]:
    """By class and argument, the value that each option of each slot gives it, on its own.

    Where several options build a class (the papers' heads), one that leaves the argument out takes
    the class's default.
    """
    register_resolvers()
    found: dict[Key, dict[str, Any]] = defaultdict(dict)
    options: dict[str, set[str]] = defaultdict(set)
    for file in sorted((Path(CONFIG_DIR) / "method").glob("*/*.yaml")):
        alone = OmegaConf.create({"slot": OmegaConf.load(file)})  # no run and no method above it
        config, raw = (OmegaConf.to_container(alone, resolve=r) for r in (True, False))
        for part, unresolved in zip(parts(config), parts(raw), strict=True):
            options[part["_target_"]].add(file.stem)
            for name, value in part.items():
                computed = "norm_splits" in str(unresolved[name])  # of the devices, no default
                if not name.startswith("_") and not isinstance(value, dict) and not computed:
                    found[part["_target_"], name][file.stem] = value
    for (target, name), values in found.items():
        default = inspect.signature(get_object(target)).parameters[name].default
        values |= {option: default for option in options[target] - values.keys()}
    return found


STATED = stated()


def test_the_options_are_read() -> None:
    assert STATED["ssl_zoo.modules.Queue", "size"] == {"queue": 4096}
    assert STATED["ssl_zoo.modules.Momentum", "momentum"] == {"momentum": 0.99, "shuffle_bn": 0.99}
    assert STATED["ssl_zoo.losses.MarginTriplet", "margin"] == {"triplet": 0.8}
    assert len(STATED) > 30


@pytest.mark.parametrize("key", STATED, ids=" ".join)
def test_a_default_is_one(key: Key) -> None:
    """Where options differ, the class has the value of one of them."""
    target, name = key
    default = inspect.signature(get_object(target)).parameters[name].default
    if default is not inspect.Parameter.empty:
        assert default in STATED[key].values()


def knobs() -> list[tuple[str, str, Any]]:
    """Of each method's file: its class, an argument, and the knob that is handed on to it."""
    found = []
    for file in sorted((Path(CONFIG_DIR) / "method").glob("*.yaml")):
        config = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        assert isinstance(config, dict)
        for name, value in config["module"].items():
            if value == f"${{method.{name}}}" and isinstance(config.get(name), bool | float | str):
                found.append((config["module"]["_target_"], name, config[name]))
    return found


def test_a_method_has_the_defaults_of_its_file() -> None:
    taken = {}
    for target, name, value in knobs():
        parameter = inspect.signature(get_object(target)).parameters.get(name)
        if parameter is not None:
            assert parameter.default == value, (target, name)
            taken[name] = value
    expected = {"same_view_negatives", "symmetric", "constant_predictor_lr", "proximal_weight"}
    assert expected <= taken.keys()
