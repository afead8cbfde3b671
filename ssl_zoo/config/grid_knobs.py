"""Knobs of a multirun that only the options which it sweeps have. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ssl_zoo.config.choices import LISTS, chosen_options, parsed
from ssl_zoo.config.compose import composed
from ssl_zoo.config.groups import options_of
from ssl_zoo.types import UserError


def held_by_jobs(args: Sequence[str], program: str) -> list[str]:
    """The command line, in which a knob that only the swept options have is a sweep of one value.

    Hydra composes a multirun without the options that it sweeps, and would refuse such a knob.

    Args:
        args: The command line.
        program: train or evaluate.

    Raises:
        UserError: If some of the swept options have a knob that others lack.
    """
    several = {"-m", "--multirun"} & {*args} and not any("hydra/sweeper=" in arg for arg in args)
    knobs = [one for one in parsed(args) if _is_knob(one)] if several else []
    chosen = chosen_options(args) if knobs else {}
    swept = [one.key_or_group for one in parsed(args) if one.is_sweep_override()]
    grid = {group: chosen[group] for group in swept if group in chosen and group not in LISTS}
    known = all(set(names) <= {*options_of(group)} for group, names in grid.items())
    if not knobs or not grid or not known:
        return list(args)
    alike = [_choice(group, names) for group, names in chosen.items() if group not in grid]
    lacks = _lacking([one.key_or_group for one in knobs], grid, alike, program)
    master = _keys(alike, program)
    held = {
        str(one.input_line)
        for one in knobs
        if not one.is_sweep_override() and one.key_or_group not in master
        if lacks[one.key_or_group] == []
    }
    return [_as_sweep(arg) if arg in held else arg for arg in args]


def _is_knob(one: Override) -> bool:
    key = one.key_or_group
    changes = not (one.is_add() or one.is_force_add() or one.is_delete())
    return changes and not options_of(key) and not {"/", "@"} & {*key} and key[:6] != "hydra."


def _choice(group: str, names: Sequence[str]) -> str:
    return f"{group}=[{','.join(names)}]" if group in LISTS else f"{group}={names[0]}"


def _lacking(
    names: Sequence[str], grid: dict[str, list[str]], alike: Sequence[str], program: str
) -> dict[str, list[str] | None]:
    """The swept options that lack each knob; None where no option has it."""
    found = {name: list[str]() for name in names}
    anywhere = set[str]()
    for group, options in grid.items():
        others = [f"{other}={names[0]}" for other, names in grid.items() if other != group]
        keys = {o: _keys([*alike, *others, f"{group}={o}"], program) for o in options}
        for name in names:
            without = [f"{group}={option}" for option in options if name not in keys[option]]
            anywhere |= {name} if len(without) < len(options) else set()
            found[name] += without if len(without) < len(options) else []
    for name, without in found.items():
        if without:
            lines = " or ".join(without)
            raise UserError(f"{name} is not a key with {lines}: run those in a sweep of their own")
    return {name: without if name in anywhere else None for name, without in found.items()}


def _keys(choices: Sequence[str], program: str) -> set[str]:
    """Every dotted key that the config has with these options; none where they do not compose."""
    try:
        return set(_walk(OmegaConf.to_container(composed(choices, program), resolve=False)))
    except HydraException:  # which Hydra itself will say
        return set()


def _walk(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from _walk(value, f"{prefix}{key}.")


def _as_sweep(arg: str) -> str:
    key, _, value = arg.partition("=")
    return f"{key}=choice({value})"
