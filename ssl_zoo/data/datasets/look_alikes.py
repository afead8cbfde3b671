"""Folders that would be trained on as classes, and seem to be something else: refused."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from ssl_zoo.data.datasets.split_names import (
    Role,
    are_pieces,
    looks_like,
    pictures_and_annotations,
    role,
    without_split,
)
from ssl_zoo.data.listing import Found
from ssl_zoo.types import UserError, listed

_RENAME = "rename them train, val and test"


def stop_at_look_alikes(found: Found, place: Path, labelled: bool | str, depth: int) -> None:
    """Refuse top folders that seem to be splits, pieces or annotations, under names not known.

    Raises:
        UserError: Saying what they seem to be, and what to do in either case.
    """
    if labelled is not True:
        _stop_at_names(found.tops(), place)
    if labelled == "auto" and depth == 1:
        _stop_at_parts(found, place)


def _stop_at_names(folders: list[str], place: Path) -> None:
    """Refuse folders that look like splits, whether they would be classes or one unlabelled set."""
    hints = {split for name in folders for split in looks_like(name)}
    if "train" in hints and len(hints) > 1:
        raise UserError(
            f"the folders {listed(folders)} in {place} look like splits: {_RENAME}, give one as "
            "the root to train on it alone, or set labelled=true if they are classes"
        )
    if twins := _twins(folders):
        raise UserError(
            f"{place} has {listed(twins)}, which look like a split of each class: {_RENAME}, with "
            "the classes inside, or set labelled=true if they are classes"
        )


def _stop_at_parts(found: Found, place: Path) -> None:
    """Refuse folders that seem to be parts of one set, and would be classes."""
    folders = found.tops()
    same = _same_subfolders(found)
    if same and "train" not in map(role, same):  # those have splits inside, which is said later
        first = f"{folders[0]}/{same[0]}"
        raise UserError(
            f"the folders {listed(folders)} in {place} hold the same folders ({listed(same)}), as "
            f"splits do: {_RENAME}, or set test_folder; if {folders[0]} is a class set "
            f"labelled=true, if {first} is one class_depth=2, if neither is labelled=false"
        )
    if are_pieces(folders):
        raise UserError(
            f"the folders {listed(folders)} in {place} look like pieces of one set: {_RENAME}, or "
            "set labelled=false to train on all of them, or labelled=true if they are classes"
        )
    stop_at_annotations(found, place)


def stop_at_annotations(found: Found, place: Path) -> None:
    """Refuse pictures and what is drawn on them, which would be two classes."""
    if pair := pictures_and_annotations(found.tops()):
        raise UserError(
            f"{place} has a folder {pair[0]} and a folder {pair[1]}, which look like pictures and "
            f"what is drawn on them: give {place / pair[0]} as the root, move {pair[1]} "
            "elsewhere, or set labelled=true if they are classes"
        )


def _twins(folders: Sequence[str]) -> list[str]:
    """Folders that are named as another one and a split, as cat_test beside cat."""
    own = {name: without_split(name) for name in folders}
    plain = {tuple(words) for name, words in own.items() if words and not looks_like(name)}
    return [name for name in folders if looks_like(name) and tuple(own[name]) in plain]


def stop_at_shared(roots: Mapping[str, Path]) -> None:
    """Refuse two splits whose files are the same, by a symbolic link."""
    places = {split: root.resolve() for split, root in roots.items()}
    for (one, first), (other, second) in combinations(places.items(), 2):
        if first == second or first in second.parents or second in first.parents:
            raise UserError(
                f"{roots[one]} ({one}) and {roots[other]} ({other}) are the same files "
                f"by a link: no image may be in two splits, so remove one"
            )


def _same_subfolders(found: Found) -> list[str]:
    """Names of folders that at least two top folders share, if those are half of what they hold."""
    below: dict[str, set[str]] = defaultdict(set)
    for name in found.names:
        parts = name.split("/", 2)
        if len(parts) == 3:
            below[parts[0]].add(parts[1].lower())
    counts = Counter(name for names in below.values() for name in names)
    shared = {name for name, count in counts.items() if count > 1}
    alike = [
        names & shared
        for names in below.values()
        if len(names & shared) > 1 and 2 * len(names & shared) >= len(names)
    ]
    return sorted(set().union(*alike)) if len(alike) > 1 else []


def stop_at_splits_below(found: Found, root: Path, labelled: bool | str, depth: int) -> None:
    """Refuse a folder to read in which some folder holds train beside val or test.

    Also a class that holds test or val alone, unless folders that deep are classes.
    """
    splits: dict[str, dict[Role, str]] = defaultdict(dict)
    for folder in {name.rpartition("/")[0] for name in found.names}:
        parents = folder.split("/") if folder else []
        for i, name in enumerate(parents):
            if (split := role(name)) is not None:
                splits["/".join(parents[:i])][split] = name
    for parent, names in sorted(splits.items()):
        if "train" in names and len(names) > 1:
            raise UserError(
                f"{root / parent} holds the splits {listed(sorted(names.values()))}, but is "
                f"itself below {root}, which would be read as a whole: give it as the root, "
                f"or move its folders up"
            )
        own = role(parent.rpartition("/")[2])  # of Test in Test, which only wraps it
        held_out = [name for split, name in names.items() if split not in ("train", own)]
        if parent and held_out and depth == 1 and labelled is not True:
            raise UserError(
                f"{root / parent} holds a folder {held_out[0]}, which would be read with the "
                "rest: move it out, or set labelled=true if it is no split"
            )
