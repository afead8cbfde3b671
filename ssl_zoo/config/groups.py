"""The config groups and their options, ours and the user's, as Hydra finds them. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource
from omegaconf import OmegaConf


def _config_dir() -> Path:
    """conf/ beside the package in a checkout, inside it where a wheel was installed."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if (beside / "train.yaml").is_file() else package / "conf"


CONFIG_DIR = str(_config_dir())
# Folders of conf/ that are no groups of train.py or evaluate.py, and who reads them.
OF_OTHERS = {
    "wandb_sweep": "W&B's agent: wandb sweep conf/wandb_sweep/OPTION.yaml, see docs/wandb.md",
    "study": "studies: python -m ssl_zoo.study run study=NAME",
}
_SEARCHPATH = "hydra.searchpath"
own_folders: list[str] = []  # of the user, as places of Hydra's search path


def options_of(group: str) -> list[str]:
    """The options of a config group; none where it is not a group."""
    found: list[str] = _repository(tuple(own_folders)).get_group_options(group)
    return found


def all_groups(parent: str = "") -> Iterator[str]:
    """Every group, with those below it: "method", "method/loss" ..."""
    repository = _repository(tuple(own_folders))
    for name in repository.get_group_options(parent, ObjectType.GROUP):
        group = f"{parent}/{name}".lstrip("/")
        yield group
        yield from all_groups(group)


def read_option(group: str, option: str) -> dict[str, Any]:
    """What an option's file holds, its defaults list too; empty where there is no such option."""
    name = f"{group}/{option}".lstrip("/")
    source = _source_of(name)
    if source is None:
        return {}
    file = Path(source.path) / f"{name}.yaml"
    return deepcopy(_content(source, name, file.stat().st_mtime_ns if file.is_file() else 0))


@cache
def _content(source: ConfigSource, name: str, changed: int) -> dict[str, Any]:
    """What a file holds, read once while it does not change: it takes 0.1 s."""
    tree = OmegaConf.to_container(source.load_config(name).config, resolve=False)
    assert isinstance(tree, dict)
    return tree  # type: ignore[return-value]  # its keys are texts


def first_comment(group: str, option: str) -> str:
    """The first comment in an option's file that says something, "" where there is none."""
    source = _source_of(f"{group}/{option}")
    file = Path(source.path) / group / f"{option}.yaml" if source else None
    text = file.read_text() if file and file.is_file() else ""
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    return next((comment for comment in comments if not comment.startswith("@package")), "")


def defaults_of(group: str, option: str) -> dict[str, str]:
    """The defaults list of an option's file, by group."""
    entries = read_option(group, option).get("defaults", [])
    return {
        key: value for entry in entries if isinstance(entry, dict) for key, value in entry.items()
    }


def _source_of(name: str) -> ConfigSource | None:
    sources = _repository(tuple(own_folders)).get_sources()
    return next((source for source in sources if source.is_config(name)), None)


def search(args: Sequence[str]) -> None:
    """Look into the user's config folders too: `--config-dir DIR` and `hydra.searchpath=[...]`.

    Args:
        args: The command line.
    """
    folders = []
    for flag, value in pairwise(args):
        if flag in ("--config-dir", "-cd"):
            folders.append(f"file://{Path(value).absolute()}")
    for arg in args:
        if arg.startswith("--config-dir="):
            folders.append(f"file://{Path(arg.partition('=')[2]).absolute()}")
        elif arg.lstrip("+").startswith(f"{_SEARCHPATH}="):
            folders += _listed(arg)
    own_folders[:] = folders


def _listed(arg: str) -> list[str]:
    try:
        value = OverridesParser.create().parse_override(arg).value()
    except HydraException:
        return []  # Hydra will say so
    return [str(one) for one in value] if isinstance(value, list) else []


def hidden_files() -> list[str]:
    """The user's config files that nothing reads, since ssl_zoo's own of that name go first.

    Copies that say the same are not counted.
    """
    ours, *theirs = _repository(tuple(own_folders)).get_sources()
    hidden = []
    for file in sorted(Path(ours.path).rglob("*.yaml")):
        name = file.relative_to(ours.path)
        for source in theirs:
            there = Path(source.path) / name
            if not source.is_config(str(name)) or there.resolve() == file.resolve():
                continue
            if not (there.is_file() and there.read_bytes() == file.read_bytes()):
                hidden.append(str(there))
    return hidden


@cache
def _repository(folders: tuple[str, ...]) -> ConfigRepository:
    Plugins.instance()  # registers the kinds of sources, file:// and pkg://
    path = ConfigSearchPathImpl()
    path.append("main", f"file://{CONFIG_DIR}")
    for folder in folders:
        path.append("user", folder)
    return ConfigRepository(path)
