"""A run that is only tried: a few steps of everything, and nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ssl_zoo.run_folder import RunFolder, moved

_STEPS = 3  # of a dry run: one that warms up, and two that are measured


def take_dry_run(config: dict[str, Any]) -> bool:
    """Whether it is a dry run; its few steps are then set. Takes `dry_run` out of the config."""
    dry = bool(config.pop("dry_run"))
    if dry:
        trainer = config["trainer"]
        trainer["fast_dev_run"] = _STEPS * int(trainer["accumulate_grad_batches"])
    return dry


@contextmanager
def thrown_away(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], RunFolder]]:
    """The config and the folder of a run whose every file goes to a folder that is deleted.

    What earlier runs have put into the data set's cache is read, but nothing is added to it.
    """
    with TemporaryDirectory(prefix="ssl_zoo-") as place:
        folder, cache = Path(place) / "run", Path(place) / "cache"
        folder.mkdir()
        cache.mkdir()
        elsewhere = moved(config, config["run_dir"], str(folder))
        yield _cached_in(cache, elsewhere), RunFolder(folder)


def _cached_in(cache: Path, node: Any) -> Any:
    """The config with each `cache_dir` replaced; what it holds is linked from the new one.

    A list of skipped images is not written: no line shall name a file that is deleted.
    """
    if isinstance(node, list):
        return [_cached_in(cache, value) for value in node]
    if not isinstance(node, dict):
        return node
    replaced = {key: _cached_in(cache, value) for key, value in node.items()}
    old = replaced.get("cache_dir")
    if isinstance(old, str):
        _link(Path(old).expanduser().absolute(), cache)
        replaced["cache_dir"] = str(cache)
    if "skipped_list" in replaced:
        replaced["skipped_list"] = None
    return replaced


def _link(old: Path, cache: Path) -> None:
    for file in old.iterdir() if old.is_dir() else ():
        link = cache / file.name
        if not link.exists():
            link.symlink_to(file)
