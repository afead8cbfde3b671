"""Knobs of a multirun that only the options which it sweeps have. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ssl_zoo.config.choices import LISTS, chosen_options, parsed
from ssl_zoo.config.compose import composed, dotted_keys
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
    if not {"-m", "--multirun"} & {*args}:
        return list(args)
    given = parsed(args)
    knobs = {one.key_or_group: one for one in given if _is_of_an_option(one)}
    chosen = chosen_options(args) if knobs else {}
    swept = {one.key_or_group for one in given if one.is_sweep_override()}
    grid = {group: chosen[group] for group in chosen if group in swept and group not in LISTS}
    if not grid or any(set(names) - {*options_of(group)} for group, names in grid.items()):
        return list(args)  # of an option that does not exist Hydra itself will say so
    alike = [_choice(group, names) for group, names in chosen.items() if group not in grid]
    common = _of_all(knobs, grid, alike, program) - _keys(alike, program)
    held = [str(knobs[name].input_line) for name in common if not knobs[name].is_sweep_override()]
    return [_as_sweep(arg) if arg in held else arg for arg in args]


def _is_of_an_option(one: Override) -> bool:
    """Whether it sets a knob that one option may have and another not, unlike seed and epochs."""
    key = one.key_or_group
    changes = not (one.is_add() or one.is_force_add() or one.is_delete() or one.is_hydra_override())
    return changes and "." in key and not {"/", "@"} & {*key}


def _choice(group: str, names: Sequence[str]) -> str:
    return f"{group}=[{','.join(names)}]" if group in LISTS else f"{group}={names[0]}"


def _of_all(
    knobs: Iterable[str], grid: dict[str, list[str]], alike: Sequence[str], program: str
) -> set[str]:
    """The knobs that all swept options have; those that none has are left to Hydra.

    Raises:
        UserError: Naming a knob, and the options that lack it.
    """
    lacking: dict[str, list[str]] = {name: [] for name in knobs}
    found = set[str]()
    for group, options in grid.items():
        others = [_choice(other, names) for other, names in grid.items() if other != group]
        keys = {o: _keys([*alike, *others, f"{group}={o}"], program) for o in options}
        for name, culprits in lacking.items():
            without = [f"{group}={option}" for option in options if name not in keys[option]]
            if len(without) < len(options):  # else it is another group's options that lack it
                found.add(name)
                culprits += without
    for name, culprits in lacking.items():
        if culprits:
            lines = " or ".join(culprits)
            raise UserError(f"{name} is not a key with {lines}: run those in a sweep of their own")
    return found


def _keys(choices: Sequence[str], program: str) -> set[str]:
    """Every dotted key that the config has with these options; none where they do not compose."""
    try:
        return set(dotted_keys(OmegaConf.to_container(composed(choices, program), resolve=False)))
    except HydraException:  # which Hydra itself will say
        return set()


def _as_sweep(arg: str) -> str:
    key, _, value = arg.partition("=")
    return f"{key}=choice({value})"
