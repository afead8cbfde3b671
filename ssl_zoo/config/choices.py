"""What the command line chooses from the config groups, before Hydra composes it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import OverrideParseException

from ssl_zoo.config.groups import defaults_of, options_of
from ssl_zoo.types import UserError

LISTS = ("protocol", "logger", "callbacks")  # groups that take several options

_FLAGS = (
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--info"),
    *("--multirun", "--shell-completion", "--experimental-rerun"),
    *("--config-path", "--config-name", "--config-dir"),
)
_FLAGS_WITH_VALUE = (
    *("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"),
    *("--package", "-p", "--cfg", "-c"),
)


_DRY_RUN = "dry_run=true"


def flags_first(args: list[str], meant: Callable[[str, str], str | None]) -> list[str]:
    """Hydra's flags before the overrides: its parser refuses overrides on both sides of a flag.

    `--dry-run` becomes the override that it stands for.

    Args:
        args: The command line.
        meant: What to type for another tool's word and its value; None for all other words.

    Raises:
        UserError: For a flag that Hydra does not have, with the override to type.
    """
    flags, overrides, rest = [], [], iter(args)
    for arg in rest:
        if arg.lower().replace("_", "-") in ("--dry-run", "--dryrun"):
            overrides.append(_DRY_RUN)
            continue
        name, _, typed = arg.partition("=")
        if name.startswith("--") and name not in _FLAGS:
            given = typed or next(rest, "VALUE")
            key = name[2:].replace("-", "_")
            raise UserError(f"{name} is not a flag: {meant(key, given) or f'give {key}={given}'}")
        if not arg.startswith("-"):
            overrides.append(arg)
        elif arg in _FLAGS_WITH_VALUE:
            flags += [arg, *([value] if (value := next(rest, None)) is not None else [])]
        else:
            flags.append(arg)
    several = next((flag for flag in flags if flag in ("-m", "--multirun")), None)
    shown = next((flag for flag in flags if flag in ("-c", "--cfg")), None)
    if several and shown:
        raise UserError(f"{shown} shows the config of one run: remove {several}")
    return flags + overrides


def is_dry_run(args: Iterable[str]) -> bool:
    """Whether a command line ends with `dry_run=true`."""
    given = [arg.lstrip("+").partition("=") for arg in args]
    values = [value for key, _, value in given if key == "dry_run"]
    return bool(values) and values[-1].lower() in ("true", "yes", "on", "1")


def elsewhere(args: Iterable[str], folder: str) -> list[str]:
    """A command line whose folders of Hydra are made in another one.

    Args:
        args: The command line. Its own choice of the run's folder stays the run's.
        folder: Where Hydra may write.
    """
    kept = [
        arg.replace("hydra.run.dir=", "run_dir=", 1) if arg.startswith("hydra.run.dir=") else arg
        for arg in args
        if not arg.startswith(("hydra.sweep.dir=", "sweep="))
    ]
    return [*kept, f"hydra.sweep.dir='{folder}/sweep'"]


def groups_of(program: str) -> list[str]:
    """The config groups of train or evaluate."""
    return list(defaults_of("", program))


def slots_of(method: str) -> list[str]:
    """The slots that a method's file fills: projector, loss ..."""
    return list(defaults_of("method", method))


def chosen_options(args: Iterable[str]) -> dict[str, list[str]]:
    """The options that overrides name for each group, those of a sweep spelled out.

    Raises:
        UserError: If a glob matches no option.
    """
    chosen = {}
    for override in parsed(args):
        options = options_of(override.key_or_group)
        value = override.value()
        if not options:
            continue
        if value is None:
            raise UserError(f"{override.input_line}: leave it out, or give an option")
        if value == []:
            raise UserError(f"{override.input_line}: give an option: {', '.join(options)}")
        if any(isinstance(one, bool) for one in (value if isinstance(value, list) else [value])):
            raise UserError(f"{override.input_line} is not an option: known: {', '.join(options)}")
        ours = {*groups_of("train"), *groups_of("evaluate")} - set(LISTS)
        if isinstance(value, list) and override.key_or_group in ours:
            each = f"{override.key_or_group}={','.join(map(str, value))}"
            raise UserError(f"{override.input_line}: give one option, or a run for each: -m {each}")
        if isinstance(value, Glob):
            names = value.filter(options)
            if not names:
                line = override.input_line
                raise UserError(f"{line} matches no option: known: {', '.join(options)}")
        elif override.is_sweep_override():
            names = [name.strip("'\"") for name in override.sweep_string_iterator()]
        elif isinstance(value, list):
            names = [str(name) for name in value]
        else:
            names = [str(value)]
        chosen[override.key_or_group] = names
    return chosen


def chosen_method(args: Iterable[str]) -> str:
    """The method that a command line ends with: its own, else its files', else the default."""
    chosen = chosen_options(args)
    named = [
        defaults_of(group, option).get("override /method")
        for group in ("ablation", "experiment")
        for option in chosen.get(group, [])
    ]
    return next(
        filter(None, [*chosen.get("method", []), *named, defaults_of("", "train")["method"]])
    )


def parsed(args: Iterable[str]) -> list[Override]:
    """The overrides of a command line; none where one of them is not KEY=VALUE."""
    overrides = [arg for arg in args if "=" in arg and not arg.startswith("-")]
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException:
        return []  # Hydra will say so


def check_choices(args: Iterable[str]) -> None:
    """Refuse a recipe or an ablation of one method beside another method.

    What is left of the file would change that method, or nothing at all.

    Raises:
        UserError: Naming both; or if a glob matches no option.
    """
    chosen = chosen_options(args)
    methods = {
        f"{group}={option}": defaults_of(group, option).get("override /method")
        for group in ("experiment", "ablation")
        for option in chosen.get(group, [])
    }
    methods |= {f"method={method}": method for method in chosen.get("method", [])}
    for (first, a), (second, b) in combinations(methods.items(), 2):
        if None in (a, b) or a == b or first.split("=")[0] == second.split("=")[0]:
            continue
        if not second.startswith(f"ablation={a}_"):  # a rival in that method's table
            raise UserError(f"{first} is of method={a}, but {second} of method={b}: remove one")
