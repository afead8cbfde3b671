"""Errors in one line, with the nearest valid names. Imports no torch."""

from __future__ import annotations

import difflib
import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import yaml
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.config.build import flatten
from ssl_zoo.config.choices import (
    LISTS,
    check_choices,
    chosen_method,
    chosen_options,
    elsewhere,
    flags_first,
    groups_of,
    is_dry_run,
    slots_of,
)
from ssl_zoo.config.compose import composed, dotted_keys
from ssl_zoo.config.grid import check_launcher
from ssl_zoo.config.grid_knobs import held_by_jobs
from ssl_zoo.config.groups import (
    CONFIG_DIR,
    OF_OTHERS,
    all_groups,
    hidden_files,
    options_of,
    own_folders,
    read_option,
    search,
)
from ssl_zoo.config.quoting import plain_texts, typed
from ssl_zoo.config.resume_line import go_on, resume_line
from ssl_zoo.config.words import beside, check_words, meant
from ssl_zoo.launched import is_rank_zero
from ssl_zoo.types import UserError, first_line, listed

# A folder that may not be written, a disk that is full: not faults of ours, so no stack trace.
_OF_THE_MACHINE = (errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS, errno.EDQUOT)


def nearest(name: str, names: Iterable[str]) -> str:
    """'did you mean ...' with up to three close names, else those of the same parent.

    The same last part, as in `temperature` for `method.temperature`, is closer than any spelling.
    """
    names = sorted(set(names))
    last = re.split(r"[./]", name)[-1]
    close = [other for other in names if re.split(r"[./]", other)[-1] == last]
    close = sorted(close, key=lambda other: other.count("."))[:3]
    close = close or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    parent = name.rpartition(".")[0]
    siblings = [other for other in names if other.rpartition(".")[0] == parent]
    return f"known: {', '.join((siblings or names)[:40])}"


def explain(error: BaseException, config_name: str) -> str:
    """One line for a Hydra, OmegaConf or user error, with the nearest valid names."""
    line = None
    sweep = re.search(r"Sweep parameters '(.+?)' requires --multirun", str(error))
    if sweep:
        return _without_m(sweep.group(1), config_name)
    several = re.search(r"Ambiguous value for argument '([^=']+)=([^']*)'", str(error))
    if several:
        return _several(several.group(1), several.group(2), config_name)
    if "does not support sweep type" in str(error):
        return (
            "an interval is searched over: add hydra/sweeper=optuna, or give values: KNOB=0.1,0.2"
        )
    if isinstance(error, MissingConfigException):
        line = _no_option(str(error))
    elif isinstance(error, ConfigCompositionException):
        line = _no_key(str(error), config_name)
    elif isinstance(error, OverrideParseException):
        line = f"{error.override} is not KEY=VALUE"
    elif isinstance(error, InstantiationException):
        line = " ".join(str(error).split())
    return line or first_line(error)


def _several(key: str, values: str, config_name: str) -> str:
    """Of several values where one is expected: a sweep without -m, a list or a text."""
    if "/" in values:
        return f"{key}={values} is several values: as one text it is {typed(key, values)}"
    if key in LISTS or isinstance(OmegaConf.select(_composed(config_name), key), ListConfig):
        return f"{key}={values} is several values: a list is {key}=[{values}]"
    return _without_m(f"{key}={values}", config_name)


def _without_m(override: str, config_name: str) -> str:
    line = shlex.join([f"{config_name}.py", "-m", override])
    return f"{override} is a run for each value: add -m, as in {line}"


def _no_option(text: str) -> str | None:
    """Of a group's option that does not exist; None where Hydra's text is about something else."""
    one = re.search(
        r"Could not find '([^']+)'\s+Available options in '[^']+':(.*?)(?:\nConfig search|$)",
        text,
        re.S,
    )
    if one:
        group, _, name = one.group(1).rpartition("/")
        own = "" if own_folders else " (options of your own: --config-dir DIR)"
        return f"{group}={name} is not an option: {nearest(name, one.group(2).split())}{own}"
    listed = re.search(r"Could not load '([^']+)'", text)  # one of a list, protocol=[a,b]
    if listed:
        group, _, name = listed.group(1).rpartition("/")
        return f"{group}=[{name}] is not an option: {nearest(name, options_of(group))}"
    return None


def _no_key(text: str, config_name: str) -> str | None:
    """Of a key that the config does not have; None where Hydra's text is about something else."""
    twice = re.search(r"Multiple values for (\S+)\. To override", text)
    if twice:
        return f"+{twice.group(1)} is there already: leave out the +"
    there = re.search(r"Could not append to config. An item is already at '([^']+)'", text)
    if there:
        return f"+{there.group(1)} is there already: leave out the +"
    key = re.search(r"Could not override '([^']+)'", text)
    if not key:
        return None
    name = key.group(1).split("@")[0]
    for group in LISTS:
        option = name.removeprefix(f"{group}.").split(".")[0]
        chosen = chosen_options(sys.argv[1:]).get(group, [])
        if name.startswith(f"{group}.") and option in set(options_of(group)) - set(chosen):
            return f"{name} is set, but {group}={option} is not chosen: add {beside(group, option)}"
    if name.startswith("method/") and options_of(name):
        method = chosen_method(sys.argv[1:])
        return f"{name} is not a slot of {method}: it has {', '.join(slots_of(method))}"
    group = re.split(r"[./]", name)[0]
    if group in OF_OTHERS:
        return f"{name} is for {OF_OTHERS[group]}"
    if options_of(group) and group not in groups_of(config_name):
        return f"{name} is not of {config_name}.py: it is read by the other program"
    known = _hydras_keys(config_name) if group == "hydra" else _known_keys(config_name)
    if having := _options_with(group, name.partition(".")[2]):
        return f"{name} is not a key with this {group}: {group}={' or '.join(having)} has it"
    return f"{name} is not a key of the config: {nearest(name, known)}"


def _options_with(group: str, key: str) -> list[str]:
    """The options of a group whose own file has a key."""
    return [option for option in options_of(group) if key in read_option(group, option)]


def _chosen_options() -> list[str]:
    """The group choices of this process's command line; of a sweep, the first one each."""
    overrides = []
    for group, names in chosen_options(sys.argv[1:]).items():
        known = [name for name in names if name in options_of(group)]
        if group in LISTS and known:
            overrides.append(f"{group}=[{','.join(known)}]")
        elif names[0] in known:
            overrides.append(f"{group}={names[0]}")
    return overrides


def _composed(config_name: str, choices: Iterable[str] | None = None) -> DictConfig:
    """The config with these choices of options, by default the command line's."""
    try:
        return composed(choices or _chosen_options(), config_name)
    except HydraException:  # the choices are what is wrong
        return composed(program=config_name)


def _known_keys(config_name: str) -> list[str]:
    """Every group, and every dotted key that the config accepts with the options chosen."""
    raw = OmegaConf.to_container(_composed(config_name), resolve=False)
    wiring = re.compile(r"data\.|.*(\.module|\.splits)(\.|$)")
    return [*(key for key in dotted_keys(raw) if not wiring.match(key)), *all_groups()]


def _hydras_keys(config_name: str) -> list[str]:
    """The keys below `hydra`, with the sweeper, the launcher and more that are chosen."""
    chosen = [arg for arg in sys.argv[1:] if arg.startswith("hydra/")]
    raw: Any = OmegaConf.to_container(composed(chosen, config_name, with_hydra=True).hydra)
    return [f"hydra.{key}" for key in flatten(raw)]


def command_arguments() -> list[str]:
    """What this process was started with, for programs that compose no config of their own."""
    return sys.argv[1:]


def remove_if_empty(folder: str) -> None:
    """Take back the run folder that Hydra made, where nothing came of the run."""
    path = Path(folder)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def told(error: Exception, job: int) -> None:
    """Say the error of a sweep's job in one line on stderr; `fail` does not say it again."""
    print(f"error: job {job}: {explain(error, 'train')}", file=sys.stderr)
    error.told = True  # type: ignore[attr-defined]


def command_of(sweep: str) -> str:
    """This command line as it is pasted to go on with its sweep.

    Args:
        sweep: The name of the sweep's folder, or its path.
    """
    placed = ("sweep=", "+sweep=", "hydra.sweep.dir=", "+hydra.sweep.dir=")
    kept = [shlex.quote(arg) for arg in sys.argv[1:] if not arg.startswith(placed)]
    return " ".join(["python train.py", *kept, typed("sweep", sweep)])


def fail(error: Exception, config_name: str = "train") -> NoReturn:
    """End the process with one line on stderr and exit code 2."""
    if getattr(error, "told", False):
        sys.exit(2)
    print(f"error: {explain(error, config_name)}", file=sys.stderr)
    sys.exit(2)


def _say_hidden() -> None:
    """Say which of the user's config files are not read, since an option would silently be ours."""
    if own_folders and is_rank_zero() and (hidden := hidden_files()):
        print(
            f"not read: {listed(hidden)}: ssl_zoo's own {'file' if len(hidden) == 1 else 'files'} "
            f"of that name, in {CONFIG_DIR}, {'goes' if len(hidden) == 1 else 'go'} first: rename "
            "yours, and choose the new name",
            file=sys.stderr,
        )


def run_cli(
    main: Callable[[], None], config_name: str, resume: Callable[..., object] | None = None
) -> None:
    """Run a Hydra main; bad input gives one line on stderr and exit code 2.

    Args:
        main: For all command lines but one.
        config_name: train or evaluate.
        resume: For `resume=RUN`, called with the run and the other overrides.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # so that Hydra hands its errors to us
    try:
        sys.argv[1:] = plain_texts(flags_first(sys.argv[1:], partial(meant, config_name)))
        search(sys.argv[1:])
        _say_hidden()
        check_launcher(sys.argv[1:])
        check_choices(sys.argv[1:])
        check_words(sys.argv[1:], config_name)
        sys.argv[1:] = held_by_jobs(sys.argv[1:], config_name)
        line = resume_line(sys.argv[1:]) if resume else None
        if line and is_dry_run(sys.argv[1:]):
            raise UserError(
                "a dry run is of a new run: one that goes on says with what before it writes"
            )
        if resume and line:
            go_on(line, resume)
        elif is_dry_run(sys.argv[1:]):
            with TemporaryDirectory(prefix="ssl_zoo-") as folder:
                sys.argv[1:] = elsewhere(sys.argv[1:], folder)
                main()
        else:
            main()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        fail(error, config_name)
    except yaml.YAMLError as error:
        fail(UserError(f"a config file is not YAML: {' '.join(str(error).split())}"), config_name)
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        fail(error, config_name)
    except KeyboardInterrupt:
        sys.exit(130)
