"""Where in a tree of images its splits are; what is not one of them is never trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ssl_zoo.data.datasets.look_alikes import (
    stop_at_annotations,
    stop_at_look_alikes,
    stop_at_shared,
    stop_at_splits_below,
)
from ssl_zoo.data.datasets.split_names import Role, role
from ssl_zoo.data.listing import Found, check_any, counted, together
from ssl_zoo.types import BadValue, UserError, listed

Labelled = bool | Literal["auto"]


class Part(NamedTuple):
    """One split of a tree.

    Attributes:
        root: Its folder.
        found: What lies below that, and is read.
        left_out: How many files are not read, by reason.
    """

    root: Path
    found: Found
    left_out: dict[str, int]


class Layout(NamedTuple):
    """The splits of a tree; what lies outside of them is counted in train's `left_out`."""

    train: Part
    val: Part | None
    test: Part | None


def find_layout(
    found: Found, root: Path, labelled: Labelled, depth: int, test_folder: str | None
) -> Layout:
    """Find the splits by the names of folders, also below a folder that holds nothing else.

    Args:
        found: What lies in the tree.
        root: The tree's folder.
        labelled: Whether folders are classes. True also says that top folders are no splits, unless
            their names are those of splits.
        depth: Folders that name a class.
        test_folder: The folder that is test, by its own name or that of its split; None = by name.

    Raises:
        UserError: If the splits cannot be told, or what would be train holds splits.
    """
    prefix = _wrapper(found, labelled, depth)
    here, place = found.below(prefix), root / prefix
    folders = _splits(here, place, labelled, test_folder)
    if not folders:
        stop_at_look_alikes(here, place, labelled, depth)
        parts = {"train": Part(place, here, here.left_out())}
    else:
        parts = {split: _part(here, place, f"{name}/") for split, name in folders.items()}
    stop_at_shared({split: part.root for split, part in parts.items()})
    for split, part in parts.items():
        if folders and not part.found.names:
            raise UserError(f"{part.root} is {split} and holds no image: fill or remove it")
        check_any(part.found, part.root)
        if folders and labelled == "auto" and depth == 1:
            stop_at_annotations(part.found, part.root)
        stop_at_splits_below(part.found, part.root, labelled, depth)
    read = [f"{prefix}{name}/" for name in folders.values()] or [prefix]
    rest = _outside(found, read, prefix)
    train = parts["train"]
    train = train._replace(left_out=together(train.left_out, rest))
    return Layout(train, parts.get("val"), parts.get("test"))


def _part(here: Found, place: Path, prefix: str) -> Part:
    found = here.below(prefix)
    return Part(place / prefix, found, found.left_out())


def _outside(found: Found, prefixes: Sequence[str], place: str) -> dict[str, int]:
    """What lies in none of some folders, all of which are directly in `place`."""
    inside = tuple(prefixes)
    images = [name for name in found.names if not name.startswith(inside)]
    others = [reason for name, reason in found.others if not name.startswith(inside)]
    return together(counted(_outside_reason(name, place) for name in images), counted(others))


def _outside_reason(name: str, place: str) -> str:
    folder, slash, _ = name.removeprefix(place).partition("/")
    if slash and name.startswith(place):
        return f"images in {folder}/: not a split that is read"
    return "images outside of the folders that are read"


# ---- folders of a level ----


def is_stray(count: int, total: int) -> bool:
    """Whether images that lie outside of the folders are few: one, or at most a quarter of all."""
    return count < total and count <= max(1, total // 4)


def _num_loose(found: Found) -> int:
    return sum("/" not in name for name in found.names)


def _roles(found: Found) -> dict[Role, list[str]]:
    """The folders of the first level whose names are those of splits; val only if it has images."""
    full = set(found.tops())
    roles: dict[Role, list[str]] = defaultdict(list)
    for path in found.folders:
        name = path[:-1]
        split = None if "/" in name else role(name)
        if split is not None and (split != "val" or name in full):
            roles[split].append(name)
    return dict(roles)


def _wrapper(found: Found, labelled: Labelled, depth: int) -> str:
    """The folder around splits, or around class folders, if there is nothing else; else ""."""
    prefix, here = "", found
    while not _roles(here):
        folders = here.tops()
        if len(folders) != 1 or not is_stray(_num_loose(here), len(here.names)):
            classes = len(folders) > 1 and depth == 1 and labelled is not False
            return prefix if classes else ""
        prefix, here = f"{prefix}{folders[0]}/", here.below(f"{folders[0]}/")
    return prefix


def unwrapped(part: Part, depth: int) -> Part:
    """A split whose class folders lie in one more folder, as in seg_train/seg_train/forest."""
    prefix, here = "", part.found
    while depth == 1 and len(folders := here.tops()) == 1:
        if not is_stray(_num_loose(here), len(here.names)):
            return part
        prefix, here = f"{prefix}{folders[0]}/", here.below(f"{folders[0]}/")
    if not prefix or len(here.tops()) < 2:
        return part
    rest = _outside(part.found._replace(others=[]), [prefix], "")  # its others are counted
    return Part(part.root / prefix, here, together(part.left_out, rest))


# ---- which folder is which split ----


def _splits(
    found: Found, place: Path, labelled: Labelled, test_folder: str | None
) -> dict[Role, str]:
    """The folder of each split; empty if there are no splits."""
    roles = _roles(found)
    if test_folder is not None:
        roles = _with_test(roles, found, test_folder, place)
    if not roles or _is_class_of_that_name(roles, found, place, labelled):
        return {}
    for split, names in roles.items():
        if len(names) > 1:
            raise UserError(
                f"{place} has {len(names)} folders that may be {split}: {listed(names)}; rename "
                "one, or move it elsewhere"
            )
    folders = {split: names[0] for split, names in roles.items()}
    if "train" not in folders:  # taking all would train on the test images
        name = folders.get("test") or folders["val"]
        raise UserError(
            f"{place} has a folder {name} but no folder train: add it, or rename {name}; to train "
            f"on {name} alone, give it as the root"
        )
    return folders


def _with_test(
    roles: dict[Role, list[str]], found: Found, test_folder: str, place: Path
) -> dict[Role, list[str]]:
    folders = found.tops()
    wanted = test_folder.strip("/").lower()
    chosen = [name for name in folders if name.lower() == wanted]
    chosen = chosen or [name for name in folders if role(name) == wanted]
    if len(chosen) != 1:
        says = f"is not one folder of {place}, which has {listed(folders) or 'none'}: give one"
        raise BadValue("test_folder", test_folder, says=says)
    kept: dict[Role, list[str]] = {
        split: left
        for split, names in roles.items()
        if split != "test" and (left := [name for name in names if name not in chosen])
    }
    others = [name for name in folders if name not in chosen]
    if "train" not in kept and len(others) == 1:
        kept = {"train": others}
    if "train" not in kept:
        says = f"leaves no folder train in {place}: rename the one to train on"
        raise BadValue("test_folder", test_folder, says=says)
    return {**kept, "test": chosen}


def _is_class_of_that_name(
    roles: dict[Role, list[str]], found: Found, place: Path, labelled: Labelled
) -> bool:
    """Whether the only split's name is that of a class, such as bus, car and train.

    Raises:
        UserError: If it may be either.
    """
    others = [name for name in found.tops() if name not in roles.get("train", [])]
    deep = any(name.count("/") > 1 for name in found.names)
    if set(roles) != {"train"} or not others or deep or labelled is False:
        return False
    if labelled is True:
        return True
    (name, *_) = roles["train"]
    raise UserError(
        f"{place}/{name} may be a split or a class like {listed(others)} beside it: set "
        f"labelled=true if it is a class, or give {place}/{name} as the root"
    )
