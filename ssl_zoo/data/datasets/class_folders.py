"""Class folders: which they are, and what lies outside of them."""

from __future__ import annotations

import logging
from unicodedata import normalize

from ssl_zoo.data.datasets.layout import Labelled, Layout, Part, is_stray, unwrapped
from ssl_zoo.data.datasets.split_names import is_annotations
from ssl_zoo.data.listing import counted, shown, together
from ssl_zoo.types import BadValue, UserError, listed

_UNLABELLED = ("unlabeled", "unlabelled", "nolabel", "no_label")

_log = logging.getLogger("ssl_zoo")


def top(name: str, depth: int) -> str:
    """The first `depth` folders of a path, "" where it has fewer.

    Letters such as é are one character: macOS may have written them as two in one of two folders.
    """
    parts = normalize("NFC", name).split("/", depth)
    return "/".join(parts[:depth]) if len(parts) > depth else ""


def with_classes(
    layout: Layout, labelled: Labelled, depth: int
) -> tuple[Layout, dict[str, list[str]]]:
    """The splits without what lies outside of class folders, and the names of each split's classes.

    Val and test may have fewer, more or other classes than train, or none.

    Returns:
        The splits, as they are where they have no classes; and by split, what may be empty.

    Raises:
        UserError: If classes are required, or one of train's is without images.
    """
    given = {split: part for split, part in layout._asdict().items() if part is not None}
    none: dict[str, list[str]] = {split: [] for split in given}
    if labelled is False:
        return layout, none
    required = labelled is True or depth > 1
    parts = {"train": unwrapped(layout.train, depth)}
    train = _classes(parts["train"], required, depth)
    classes = {"train": train}
    for split in list(given)[1:]:
        own = {normalize("NFC", name) for name in given[split].found.tops()}
        is_class = not own.isdisjoint(train)  # the only one, perhaps
        parts[split] = given[split] if is_class else unwrapped(given[split], depth)
        must = required and split == "test"
        classes[split] = _classes_beside(parts[split], train, must, depth)
    if not train and not classes.get("test"):
        return layout, none
    cleaned = {
        split: _without_strays(parts[split], depth) if classes[split] else part
        for split, part in given.items()
    }
    _say_unlabelled(train, parts["train"])
    if "val" in cleaned and train and not classes["val"]:
        val = cleaned.pop("val")
        reason = f"images in {val.root.name}/: it has no class folders as train has"
        left_out = together(cleaned["train"].left_out, {reason: len(val.found.names)}, val.left_out)
        cleaned["train"] = cleaned["train"]._replace(left_out=left_out)
        says = "a part of train is val instead, unless it gets the class folders of train"
        _log.warning("%s has no class folders: %s", val.root, says)
    return Layout(cleaned["train"], cleaned.get("val"), cleaned.get("test")), classes


def _say_unlabelled(train: list[str], part: Part) -> None:
    """Warn of a folder of unlabelled images, which is taken as a class."""
    for name in train:
        if name.lower() in _UNLABELLED:
            says = "is taken as a class like the others: move it out where its images have no label"
            _log.warning("%s %s", part.root / name, says)


def numbered(classes: dict[str, list[str]]) -> dict[str, int]:
    """The label of each class, ascending: train's first, so that they do not depend on others."""
    train = classes["train"]
    others = {name for names in classes.values() for name in names} - set(train)
    names = [*train, *sorted(others, key=lambda name: name.split("/"))]
    return {name: label for label, name in enumerate(names)}


def _folders(found: list[str], depth: int) -> list[str]:
    """The folders `depth` levels below, and folders above those without subfolders, sorted.

    Args:
        found: Paths of all folders, each with a "/" at its end.
        depth: From 1.
    """
    paths = [normalize("NFC", path[:-1]) for path in found]
    inner = {path.rpartition("/")[0] for path in paths}
    return sorted(
        (
            path
            for path in paths
            if path.count("/") == depth - 1 or (path.count("/") < depth - 1 and path not in inner)
        ),
        key=lambda path: path.split("/"),
    )


def _classes(part: Part, required: bool, depth: int) -> list[str]:
    """Names of a split's classes, sorted; empty when it is unlabelled."""
    found = [top(name, depth) for name in part.found.names]
    beside = {top(name, depth) for name, _ in part.found.others} - set(found)  # such as labels/
    folders = [
        name
        for name in _folders(part.found.folders, depth)
        if name not in beside or not is_annotations(name)
    ]
    loose = found.count("")
    if len(folders) < 2 or not is_stray(loose, len(found)):
        if required:
            _stop_at_no_classes(part, folders, loose, depth)
        return []
    if depth > 1 and loose and set(folders) - set(found):  # a class above that depth
        _stop_at_no_classes(part, folders, loose, depth)
    stop_at_empty(folders, set(found), part, "images", depth)
    return folders


def _classes_beside(part: Part, of_train: list[str], required: bool, depth: int) -> list[str]:
    """Likewise of val or test, which may lack classes: a folder without images is none.

    A single folder is a class only if train has one of that name: test/images/ is unlabelled.
    """
    found = [top(name, depth) for name in part.found.names]
    folders = [name for name in _folders(part.found.folders, depth) if name in set(found)]
    loose = found.count("")
    are_classes = len(folders) > 1 or not set(folders).isdisjoint(of_train)
    if depth > 1 and loose and set(_folders(part.found.folders, depth)) - set(found):
        _stop_at_no_classes(part, folders, loose, depth)  # a class above that depth
    if are_classes and is_stray(loose, len(found)):
        return folders
    if required:
        _stop_at_no_classes(part, folders, loose, depth)
    return []


def _stop_at_no_classes(part: Part, folders: list[str], loose: int, depth: int) -> None:
    if depth > 1:
        what = f"{loose} images above that" if loose else f"{len(folders)} of them"
        says = (
            f"takes the folders {depth} levels below {part.root} as classes, at least two, but it "
            f"has {what}: move them, or give 1"
        )
        raise BadValue("class_depth", depth, says=says)
    what = f"{loose} images outside of folders" if loose else f"{len(folders)} folders"
    says = f"but {part.root} has {what}: give each class a folder, at least two, or give false"
    raise BadValue("labelled", True, says=says)


def stop_at_empty(
    class_names: list[str], found: set[str], part: Part, what: str, depth: int
) -> None:
    """Refuse classes without images.

    Raises:
        UserError: Naming them, and what else they hold.
    """
    empty = [name for name in class_names if name not in found]
    if empty:
        others = counted(why for name, why in part.found.others if top(name, depth) in set(empty))
        holds = f" (they hold {shown(others)})" if others else ""
        raise UserError(
            f"class folders without {what} in {part.root}: {listed(empty)}{holds}; "
            "fill or remove them, or set labelled=false"
        )


def _without_strays(part: Part, depth: int) -> Part:
    kept = [name for name in part.found.names if top(name, depth)]
    strays = len(part.found.names) - len(kept)
    if not strays:
        return part
    reason = f"images in {part.root.name}/ outside of its class folders"
    found = part.found._replace(names=kept)
    return Part(part.root, found, together(part.left_out, {reason: strays}))
