"""Which places of a config follow from others: the seed, the place, what was searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import yaml

from ssl_zoo.config.changes import CHANGEABLE, dependent
from ssl_zoo.study.reading import Study, flattened

# Of the place, the machine and one run; what follows from them is found by the interpolations.
_OF_THE_RUN = ({*CHANGEABLE} - {"epochs"}) | {"seed", "name", "run_dir", "objective"}
# The same by their last names, where it is not known how the config was composed.
_LAST_NAMES = {"seed", "num_workers", "cache_dir", "root", "skipped_list", "default_root_dir"}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def set_aside(study: Study) -> Callable[[str], bool]:
    """Whether a place of a config is no part of what must be equal over methods."""
    folds = [str(one) for fold in study.settings.get("folds") or [] for one in listed(fold)]
    keys = {fold.partition("=")[0] for fold in folds} | study.searched() | _OF_THE_RUN
    is_following = follows(study, keys)
    return lambda key: key.rpartition(".")[2] in _LAST_NAMES or is_following(key)


def follows(study: Study, keys: Iterable[str]) -> Callable[[str], bool]:
    """Whether a place of a config is one of these, lies below one, or repeats one."""
    sources = {key.replace("/", ".") for key in keys}
    known = set(sources)
    for written in _written(study):
        known |= dependent(written, sources).keys()

    def check(key: str) -> bool:
        # in data.augmentation.num_views lies a copy of augmentation.num_views
        return any(f".{one}." in f".{key}." for one in known)

    return check


def _written(study: Study) -> list[dict[str, str]]:
    """The interpolations of each method's config, as the plan has composed it."""
    found = []
    for method in study.methods:
        file = study.folder.configs / method / "job.yaml"
        if file.is_file():
            job: Any = yaml.load(file.read_text(encoding="utf-8"), _Loader)
            flat = flattened(job.get("composed") or {})
            found.append({key: text for key, text in flat.items() if isinstance(text, str)})
    return found


def listed(node: Any) -> list[Any]:
    """A list, also of one."""
    return node if isinstance(node, list) else [node]


def is_below(key: str, path: str) -> bool:
    """Whether a dotted key is this place of a config, or lies in it."""
    return key == path or key.startswith(f"{path}.")
