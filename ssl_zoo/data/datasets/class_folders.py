"""Class folders: which they are, and what lies outside of them."""

from __future__ import annotations

import logging

from ssl_zoo.data.datasets.layout import Labelled, Layout, Part, is_stray, unwrapped
from ssl_zoo.data.listing import counted, shown, together
from ssl_zoo.types import BadValue, UserError, listed

_log = logging.getLogger("ssl_zoo")


def top(name: str, depth: int) -> str:
    """The first `depth` folders of a path, "" where it has fewer."""
    parts = name.split("/", depth)
    return "/".join(parts[:depth]) if len(parts) > depth else ""


def with_classes(layout: Layout, labelled: Labelled, depth: int) -> tuple[Layout, list[str]]:
    """The splits without what lies outside of class folders, and the names of the classes.

    Returns:
        The splits as they are, and no names, if they have no classes.

    Raises:
        UserError: If the splits do not have the same classes, or some are without images.
    """
    if labelled is False:
        return layout, []
    required = labelled is True or depth > 1
    parts = {
        split: unwrapped(part, depth)
        for split, part in layout._asdict().items()
        if part is not None
    }
    classes = {
        split: _classes(part, required, depth) if split != "val" else _classes_of_val(part, depth)
        for split, part in parts.items()
    }
    if not (names := classes["train"]):
        _check_same(layout.train, [], parts.get("test"), classes.get("test", []))
        return layout, []
    _check_same(parts["train"], names, parts.get("test"), classes.get("test", names))
    val, train = parts.pop("val", None), parts["train"]
    if val is not None and not classes["val"]:
        reason = f"images in {val.root.name}/: it has no class folders as train has"
        left_out = together(train.left_out, val.left_out, {reason: len(val.found.names)})
        parts["train"] = train._replace(left_out=left_out)
        _log.warning("%s has no class folders: a part of train is val instead", val.root)
        val = None
    elif val is not None:
        _check_known(val, classes["val"], train, names)
        parts["val"] = val
    cleaned = {split: _without_strays(part, depth) for split, part in parts.items()}
    return Layout(cleaned["train"], cleaned.get("val"), cleaned.get("test")), names


def _folders(found: list[str], depth: int) -> list[str]:
    """The folders `depth` levels below, and folders above those without subfolders, sorted.

    Args:
        found: Paths of all folders, each with a "/" at its end.
        depth: From 1.
    """
    paths = [path[:-1] for path in found]
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
    folders = _folders(part.found.folders, depth)
    found = [top(name, depth) for name in part.found.names]
    loose = found.count("")
    if len(folders) < 2 or not is_stray(loose, len(found)):
        if required:
            _stop_at_no_classes(part, folders, loose, depth)
        return []
    if depth > 1 and loose and set(folders) - set(found):  # a class above that depth
        _stop_at_no_classes(part, folders, loose, depth)
    stop_at_empty(folders, set(found), part, "images", depth)
    return folders


def _classes_of_val(part: Part, depth: int) -> list[str]:
    """Likewise, but without those that have no images: val may lack classes."""
    found = [top(name, depth) for name in part.found.names]
    folders = [name for name in _folders(part.found.folders, depth) if name in set(found)]
    return folders if is_stray(found.count(""), len(found)) else []


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


def _check_same(train: Part, names: list[str], test: Part | None, others: list[str]) -> None:
    """Refuse a class that only one of train and test has."""
    if test is None:
        return
    _check_known(train, names, test, others)
    _check_known(test, others, train, names)


def _check_known(part: Part, names: list[str], other: Part, known: list[str]) -> None:
    """Refuse classes of a part that another lacks."""
    lacking = [name for name in names if name not in set(known)]
    if lacking:
        raise UserError(
            f"{part.root} has classes that {other.root} lacks: {listed(lacking)}; give both the "
            "same class folders, or set labelled=false"
        )


def _without_strays(part: Part, depth: int) -> Part:
    kept = [name for name in part.found.names if top(name, depth)]
    strays = len(part.found.names) - len(kept)
    if not strays:
        return part
    reason = f"images in {part.root.name}/ outside of its class folders"
    found = part.found._replace(names=kept)
    return Part(part.root, found, together(part.left_out, {reason: strays}))
