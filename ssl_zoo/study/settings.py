"""A study's settings: its file and the command line, as checked values. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ssl_zoo.config import nearest, options_of
from ssl_zoo.config.choices import groups_of
from ssl_zoo.config.groups import read_option
from ssl_zoo.metric_names import KNN_TOP1
from ssl_zoo.provenance import sha_of
from ssl_zoo.study.checks import check_settings
from ssl_zoo.types import UserError, as_typed, listed
from ssl_zoo.writing import write_text

GROUP = "study"  # of conf/
# What may differ when a study goes on: it changes no number.
FREE = ("out", "jobs", "launcher", "submitit", "waive", "budget")
# Of the place and of each run, or of another mode than a study's.
_NOT_OURS = {
    "seed": "the study gives each run its seed: study_seed=N and seeds=N are its knobs",
    "name": "the study names its runs",
    "run_dir": "the study's folder is out=DIR",
    "resume": "a study goes on by the same command",
    "sweep": "the study's folder is out=DIR",
    "dry_run": "python -m ssl_zoo.study plan says what a study would do",
}
_TAKEN = ("floors", "supervised", "conf")  # names of a study's own folders
HELD = (
    *("backbone", "dataset", "augmentation", "batch_size", "accumulate", "epochs", "precision"),
    *("optimizer", "scheduler", "clip_norm", "sync_batchnorm", "init", "monitor", "trainer"),
)


@dataclass(frozen=True)
class Settings:
    """What a study is told.

    Attributes:
        name: Of its file.
        methods: By name, `overrides` of train.py and the `search` of each alone.
        common: Overrides of train.py for all methods.
        overrides: Those of the command line, which go last.
        search: What is searched for all methods, in Hydra's sweep syntax, by knob.
        trials: Of each method.
        sampler: sobol, or an Optuna sampler by name.
        study_seed: Of the points that are tried, and of the trials' runs.
        metric: What configurations are selected by, at the last step.
        rerun: How many `configs` of each method go on, and on how many more `seeds`.
        seeds: Final runs of each method.
        folds: Overrides, one for each fold of a cross-validation; None = there are none.
        protocols: Of evaluate.py; the first is the headline.
        floors: Whether random weights and raw pixels are scored.
        ceiling: Whether supervised training is.
        oracle: Whether each trial is scored on test, after everything else.
        held: Places of the config that are equal over methods.
        allow_differ: Those of them, or below them, that may differ.
        waive: Guards that may fail.
        unit: Of the budget: images, views, pixels or seconds.
        budget: As in 30min; of `quick`.
        launcher: local or submitit.
        submitit: Parameters of submitit's executor, as in {slurm_partition: gpu}.
        jobs: Runs at once; None = one a GPU, else one a core.
        out: The study's folder; None = runs/study_NAME.
    """

    name: str
    methods: dict[str, dict[str, Any]]
    common: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    search: dict[str, str] = field(default_factory=dict)
    trials: int = 20
    sampler: str = "sobol"
    study_seed: int = 0
    metric: str = KNN_TOP1.name
    rerun: dict[str, int] = field(default_factory=lambda: {"configs": 3, "seeds": 2})
    seeds: int = 5
    folds: list[str] | None = None
    protocols: list[str] = field(default_factory=lambda: ["knn", "linear"])
    floors: bool = True
    ceiling: bool = True
    oracle: bool = True
    held: list[str] = field(default_factory=lambda: list(HELD))
    allow_differ: list[str] = field(default_factory=list)
    waive: list[str] = field(default_factory=list)
    unit: str = "images"
    budget: str | None = None
    launcher: str = "local"
    submitit: dict[str, Any] = field(default_factory=dict)
    jobs: int | None = None
    out: str | None = None

    @property
    def folder(self) -> Path:
        """Where the study is."""
        return Path(self.out).expanduser() if self.out else Path("runs") / f"study_{self.name}"

    def overrides_of(self, method: str) -> list[str]:
        """Those of train.py for a method, the last of a key counting."""
        return [*self.common, *self.methods[method]["overrides"], *self.overrides]

    def sha(self) -> str:
        """Of what must not change once the study has begun."""
        return sha_of({key: value for key, value in asdict(self).items() if key not in FREE})

    def write(self, file: Path, command: str) -> None:
        """Write study.yaml: complete, with the command line above it."""
        text = yaml.safe_dump(asdict(self), sort_keys=False, width=120)
        write_text(file, f"# {command}\n{text}", fix="give out=DIR")


KNOBS = [one.name for one in fields(Settings) if one.name not in ("name", "overrides")]


def read_settings(args: Sequence[str]) -> Settings:
    """The settings of a command line.

    Args:
        args: study=NAME_OR_FILE and KNOB=VALUE of a study; all others are overrides of train.py.

    Raises:
        UserError: Naming what is wrong, and the fix.
    """
    pairs = [_pair(arg) for arg in args]
    named = [value for key, value in pairs if key == GROUP]
    if len(named) != 1 or not named[0]:
        known = ", ".join(options_of(GROUP))
        raise UserError(f"give study=NAME, one of {known}, or study=FILE.yaml")
    tree, overrides = _read(named[0]), list[str]()
    for arg, (key, value) in zip(args, pairs, strict=True):
        if key.partition(".")[0] in KNOBS:
            _set(tree, key, value, arg)
        elif key.lstrip("+") == "method":
            raise UserError(f"{arg}: all methods would become this one: give methods=[{value}]")
        elif key != GROUP:
            overrides.append(_checked(arg, key))
    return settings_of(tree | {"overrides": overrides})


def read_folder(file: Path) -> Settings:
    """The settings of a study that has begun, from its study.yaml.

    Raises:
        UserError: If there is none.
    """
    if not file.is_file():
        raise UserError(f"{file.parent} is not a study: it has no {file.name}; give study=NAME")
    tree = _loaded(file)
    if not isinstance(tree, dict):
        raise UserError(f"{file} holds no settings of a study: restore it")
    return settings_of(tree)


def changed(settings: Settings, args: Sequence[str]) -> Settings:
    """The settings of a study that goes on, with what may change.

    Raises:
        UserError: Naming what may not.
    """
    tree: dict[str, Any] = asdict(settings)
    for arg in args:
        key, value = _pair(arg)
        if key.partition(".")[0] not in FREE:
            may = ", ".join(f"{one}=" for one in FREE if one != "out")
            raise UserError(
                f"{arg}: a study goes on with the settings that it began with; what may change is "
                f"{may}"
            )
        _set(tree, key, value, arg)
    return settings_of(tree)


def settings_of(tree: Mapping[str, Any]) -> Settings:
    """Settings from a study's file with the command line's values in it.

    Raises:
        UserError: If a knob is unknown, or a value makes no sense.
    """
    known = [one.name for one in fields(Settings)]
    for key in tree:
        if key not in known:
            raise UserError(f"{key} is not a knob of a study: {nearest(str(key), KNOBS)}")
    if not isinstance(tree.get("methods"), dict) or not tree["methods"]:
        raise UserError("methods: name at least one, as in {simclr: {overrides: [method=simclr]}}")
    methods = {str(name): _method(str(name), one) for name, one in tree["methods"].items()}
    whole = {key: value for key, value in tree.items() if value is not None}
    rerun = whole.get("rerun", {"configs": 3, "seeds": 2})
    if isinstance(rerun, dict):
        rerun = {"configs": 0, "seeds": 0} | rerun
    settings = Settings(**{**whole, "methods": methods, "rerun": rerun})
    check_settings(settings)
    return settings


def differences(now: Settings, began: Settings) -> list[str]:
    """What must not differ when a study goes on, and does."""
    ours, theirs = asdict(now), asdict(began)
    return [
        f"{key}={as_typed(ours[key])} (was {as_typed(theirs[key])})"
        for key in ours
        if key not in FREE and ours[key] != theirs[key]
    ]


def _method(name: str, node: Any) -> dict[str, Any]:
    """A method's own settings, complete."""
    node = {} if node is None else node
    if not re.fullmatch(r"\w[\w.+-]*", name) or name.lower() in _TAKEN:
        raise UserError(
            f"methods.{name}: a name is of letters, digits and _ - . +, begins with a letter or a "
            f"digit, and is none of {', '.join(_TAKEN)}"
        )
    if not isinstance(node, dict):
        raise UserError(f"methods.{name}={node}: give overrides: [...] and search: {{...}}")
    for key in node:
        if key not in ("overrides", "search"):
            raise UserError(f"methods.{name}.{key} is not known: give overrides and search")
    default = [f"method={name}"] if name in options_of("method") else []
    given = node.get("overrides", default)
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise UserError(f"methods.{name}.overrides={given}: give a list, as in [method=simclr]")
    return {
        "overrides": [_checked(one, _pair(one)[0]) for one in given],
        "search": _texts(node.get("search"), f"methods.{name}.search"),
    }


def _texts(node: Any, where: str) -> dict[str, str]:
    if not isinstance(node or {}, dict):
        raise UserError(f"{where}={node}: give KNOB: 'interval(0,1)' pairs")
    return {str(knob): str(text) for knob, text in (node or {}).items()}


def _read(study: str) -> dict[str, Any]:
    """A study's file, by its name among ours and the user's, or by its path."""
    path = Path(study).expanduser()
    if path.suffix in (".yaml", ".yml") or "/" in study:
        if not path.is_file():
            raise UserError(f"study={study} does not exist: give a YAML file, or a name")
        tree, name = _loaded(path), path.stem
    else:
        if study not in options_of(GROUP):
            raise UserError(
                f"study={study} is not a study: {nearest(study, options_of(GROUP))} (your own: "
                "study=FILE.yaml)"
            )
        tree, name = _own_option(study), study
    if not isinstance(tree, dict):
        raise UserError(f"study={study} holds no settings: give at least methods")
    if "overrides" in tree or "name" in tree:
        raise UserError(f"study={study}: overrides of train.py for all methods are its common")
    tree["search"] = _texts(tree.get("search"), "search")
    if isinstance(methods := tree.get("methods"), list):  # train.py's, with their defaults
        tree["methods"] = _chosen({}, methods)
    return tree | {"name": name}


def _loaded(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{file} cannot be read as YAML: {_in_a_line(error)}") from error


def _own_option(study: str) -> Any:
    try:
        return read_option(GROUP, study)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"study={study} cannot be read as YAML: {_in_a_line(error)}") from error


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).replace(' in "<unicode string>",', " at").split())


def _pair(arg: str) -> tuple[str, str]:
    key, equals, value = arg.partition("=")
    if arg in ("-m", "--multirun"):
        raise UserError(f"{arg}: a study starts its runs itself, remove it")
    if arg.startswith("-") or not key.strip("+~ ") or not (equals or arg.startswith("~")):
        raise UserError(f"{arg} is not KEY=VALUE")
    return key, value


def _checked(arg: str, key: str) -> str:
    """An override of train.py that a study can pass on."""
    name = key.lstrip("+~")
    if name.startswith(f"{GROUP}."):
        raise UserError(f"{arg}: a knob of a study is given as {arg.partition('.')[2]}")
    if name in _NOT_OURS:
        raise UserError(f"{arg}: {_NOT_OURS[name]}")
    known = {*read_option("", "train"), *groups_of("train")}
    if name in KNOBS and name not in known:
        raise UserError(f"{arg}: a knob of a study is given as {name}=VALUE")
    if "/" not in name and name not in known and get_close_matches(name, KNOBS, cutoff=0.75):
        raise UserError(
            f"{name} is neither a knob of a study nor of train.py: {nearest(name, KNOBS)}"
        )
    if name.startswith("hydra"):
        raise UserError(f"{arg}: a study starts its runs without Hydra's launchers, remove it")
    try:
        override = OverridesParser.create().parse_override(arg)
    except HydraException as error:
        raise UserError(f"{arg} cannot be read as KEY=VALUE: quote its text") from error
    if override.is_sweep_override():
        knob = f"search.{name}='{arg.partition('=')[2]}'"
        raise UserError(f"{arg} is several values: what is searched is {knob}")
    return arg


def _set(tree: dict[str, Any], key: str, text: str, arg: str) -> None:
    """Put a value of the command line into a study's settings."""
    name, _, rest = key.partition(".")
    if name == "search" and rest:
        tree["search"] = {**tree.get("search", {}), rest: text}
    elif name == "methods" and (found := re.fullmatch(r"([\w+-]+)\.search\.(.+)", rest)):
        own = _entry(tree, found.group(1), arg)
        own["search"] = {**(own.get("search") or {}), found.group(2): text}
    elif name == "methods" and not rest:
        tree["methods"] = _chosen(tree, _value(arg))
    elif name == "methods" and (found := re.fullmatch(r"([\w+-]+)\.overrides", rest)):
        _entry(tree, found.group(1), arg)["overrides"] = _value(arg)
    elif name in ("rerun", "submitit") and rest:
        tree[name] = {**(tree.get(name) or {}), rest: _value(arg)}
    elif rest:
        raise UserError(f"{key} is not a knob of a study: give {name}=VALUE")
    else:
        value = _value(arg)
        lists = name in ("protocols", "waive", "allow_differ", "held", "folds", "common")
        tree[name] = [value] if lists and isinstance(value, str) else value


def _entry(tree: dict[str, Any], method: str, arg: str) -> dict[str, Any]:
    methods = tree.setdefault("methods", {})
    if method not in methods:
        raise UserError(f"{arg}: {method} is not a method of this study: {listed(list(methods))}")
    methods[method] = dict(methods[method] or {})
    own: dict[str, Any] = methods[method]
    return own


def _chosen(tree: dict[str, Any], names: Any) -> dict[str, Any]:
    """Some of the file's methods, or those of train.py."""
    if isinstance(names, dict):
        return names
    known, found = tree.get("methods", {}), {}
    for name in [names] if isinstance(names, str) else list(names or []):
        if name not in known and name not in options_of("method"):
            every = [*known, *options_of("method")]
            raise UserError(f"methods={name} is not a method: {nearest(str(name), every)}")
        found[name] = known.get(name)
    return found


def _value(arg: str) -> Any:
    """A value in Hydra's grammar."""
    key, _, text = arg.partition("=")
    try:
        override = OverridesParser.create().parse_override(arg)
    except HydraException as error:
        raise UserError(
            f"{arg} cannot be read: quote the texts in it, as in ['dataset.fold=0']"
        ) from error
    if override.is_sweep_override():
        raise UserError(f"{arg} is several values: a list is {key}=[{text}]")
    return _plain(override.value())


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return value if isinstance(value, int | float | bool) or value is None else _text(value)


def _text(value: Any) -> str:
    return str(getattr(value, "text", value))
