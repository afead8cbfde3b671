"""Errors in one line, with the nearest valid names. Imports no torch."""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.config.choices import (
    check_choices,
    chosen_method,
    chosen_options,
    elsewhere,
    flags_first,
    groups_of,
    is_dry_run,
    slots_of,
)
from ssl_zoo.config.groups import CONFIG_DIR, all_groups, options_of, own_folders, search
from ssl_zoo.config.words import beside, check_words
from ssl_zoo.types import UserError, first_line

_LISTS = ("protocol", "logger", "callbacks")  # groups that take several options
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
    several = re.search(r"Ambiguous value for argument '([^=']+)=([^']*)'", str(error))
    if several:
        key, values = several.groups()
        return f"{key}={values}: a list is {key}=[{values}], a sweep needs -m"
    if isinstance(error, MissingConfigException):
        line = _no_option(str(error))
    elif isinstance(error, ConfigCompositionException):
        line = _no_key(str(error), config_name)
    elif isinstance(error, OverrideParseException):
        line = f"{error.override} is not KEY=VALUE: quote what holds commas, spaces or braces"
    elif isinstance(error, InstantiationException):
        line = " ".join(str(error).split())
    return line or first_line(error)


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
    there = re.search(r"Could not append to config. An item is already at '([^']+)'", text)
    if there:
        return f"+{there.group(1)} is there already: leave out the +"
    key = re.search(r"Could not override '([^']+)'", text)
    if not key:
        return None
    name = key.group(1).split("@")[0]
    for group in _LISTS:
        option = name.removeprefix(f"{group}.").split(".")[0]
        chosen = chosen_options(sys.argv[1:]).get(group, [])
        if name.startswith(f"{group}.") and option in set(options_of(group)) - set(chosen):
            return f"{name} is set, but {group}={option} is not chosen: add {beside(group, option)}"
    if name.startswith("method/") and options_of(name):
        method = chosen_method(sys.argv[1:])
        return f"{name} is not a slot of {method}: it has {', '.join(slots_of(method))}"
    group = re.split(r"[./]", name)[0]
    if options_of(group) and group not in groups_of(config_name):
        return f"{name} is not of {config_name}.py: it is read by the other program"
    return f"{name} is not a key of the config: {nearest(name, _known_keys(config_name))}"


def _chosen_options() -> list[str]:
    """The group choices of this process's command line; of a sweep, the first one each."""
    overrides = []
    for group, names in chosen_options(sys.argv[1:]).items():
        known = [name for name in names if name in options_of(group)]
        if group in _LISTS and known:
            overrides.append(f"{group}=[{','.join(known)}]")
        elif names[0] in known:
            overrides.append(f"{group}={names[0]}")
    return overrides


def _known_keys(config_name: str) -> list[str]:
    """Every group, and every dotted key that the config accepts with the options chosen."""
    from hydra import compose, initialize_config_dir

    GlobalHydra.instance().clear()
    folders = [f"hydra.searchpath={json.dumps(own_folders)}"]
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        try:
            cfg = compose(config_name, [*folders, *_chosen_options()])
        except HydraException:  # the choices are what is wrong
            cfg = compose(config_name, folders)
    raw = OmegaConf.to_container(cfg, resolve=False)
    keys: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        for key, value in node.items():
            keys.append(f"{prefix}{key}")
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    walk(raw, "")
    wiring = re.compile(r"data\.|.*(\.module|\.splits)(\.|$)")
    return [*(key for key in keys if not wiring.match(key)), *all_groups()]


def remove_if_empty(folder: str) -> None:
    """Take back the run folder that Hydra made, where nothing came of the run."""
    path = Path(folder)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def fail(error: Exception, config_name: str = "train") -> NoReturn:
    """End the process with one line on stderr and exit code 2."""
    print(f"error: {explain(error, config_name)}", file=sys.stderr)
    sys.exit(2)


def run_cli(main: Callable[[], None], config_name: str) -> None:
    """Run a Hydra main; bad input gives one line on stderr and exit code 2."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # so that Hydra hands its errors to us
    try:
        sys.argv[1:] = flags_first(sys.argv[1:])
        search(sys.argv[1:])
        check_choices(sys.argv[1:])
        check_words(sys.argv[1:], config_name)
        if is_dry_run(sys.argv[1:]):
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
