"""Any tree of images as a data set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_zoo.data.images import FileImages, Images, Splits, TensorImages
from ssl_zoo.data.trees import (
    CACHE_DIR,
    Headers,
    Tree,
    decode_tree,
    read_tree,
    scan_headers,
    subfolders,
    verify,
)
from ssl_zoo.distributed import is_main_process
from ssl_zoo.types import BadValue, UserError

_SHOWN = 5  # names listed in an error line

_log = logging.getLogger("ssl_zoo")


def folder(
    root: str | Path,
    on_error: Literal["stop", "skip"] = "stop",
    labelled: bool | Literal["auto"] = "auto",
    class_depth: int = 1,
    cache_dir: str | Path = CACHE_DIR,
    cache_limit_gb: float = 8.0,
    skipped_list: str | None = None,
    num_threads: int | None = None,
) -> Splits:
    """A tree of images: `root/train` and `root/test` if they exist, else all of `root` as train.

    The folders directly below a split are its classes, at any depth below. Images that lie directly
    in the split, or fewer than two folders, make it unlabelled. With `class_depth` 2, classes are
    the folders two levels below, such as alphabet/character. Images that all have one size are
    decoded once into a memory-mapped cache; others are decoded when they are needed.

    Args:
        root: The folder.
        on_error: What to do about files that do not decode: "stop", or "skip" to leave them out.
        labelled: Whether folders are classes; "auto" decides by the tree.
        class_depth: How many folders below the split name the class; above 1, classes are required.
        cache_dir: Where decoded images and the results of checks are kept.
        cache_limit_gb: If all splits exceed this size, in units of 1e9 bytes, they are not cached.
        skipped_list: Where to list the files left out, one per line with its reason.
        num_threads: Decoding threads; None leaves it to Python.

    Raises:
        UserError: There is no such folder, no image, a class without images or in one split only,
            a file that does not decode (unless skipped), images above `class_depth`, or an unknown
            option.
    """
    _check_options(on_error, labelled, class_depth)
    trees = _split_trees(Path(root).expanduser().absolute(), Path(cache_dir).expanduser())
    required = labelled is True or class_depth > 1
    class_names = [] if labelled is False else _shared_classes(trees, required, class_depth)
    headers = [scan_headers(tree, num_threads) for tree in trees]
    if on_error == "stop":
        _stop_at_broken(trees, [header.broken for header in headers])
    size = _tensor_size(trees, headers, cache_limit_gb)
    arrays: list[NDArray[np.uint8]] = []
    broken = [header.broken for header in headers]
    if size is not None:
        decoded = [decode_tree(tree, size, num_threads) for tree in trees]
        arrays, broken = [array for array, _ in decoded], [failures for _, failures in decoded]
    elif on_error == "skip":
        broken = [verify(tree, num_threads) for tree in trees]
    if on_error == "stop":
        _stop_at_broken(trees, broken)
    else:
        _report_skipped(trees, broken, skipped_list)
    splits: list[Images] = []
    for i, tree in enumerate(trees):
        images = _all_images(tree, class_names, class_depth, arrays[i] if arrays else None)
        splits.append(_without(images, tree, broken[i], class_names))
    return Splits(splits[0], splits[1] if len(splits) > 1 else None, class_names)


def _check_options(on_error: str, labelled: bool | str, class_depth: int) -> None:
    if class_depth < 1:
        raise BadValue("class_depth", class_depth, "at least 1")
    if class_depth > 1 and labelled is False:
        says = "needs classes: remove labelled=false"
        raise BadValue("class_depth", class_depth, says=says)
    if on_error not in ("stop", "skip"):
        raise BadValue("on_error", on_error, "stop or skip")
    if labelled not in (True, False, "auto"):
        raise BadValue("labelled", labelled, "auto, true or false")


def _split_trees(root: Path, cache_dir: Path) -> list[Tree]:
    if (root / "train").is_dir():
        for name in ("val", "validation"):
            if (root / name).is_dir():
                _log.info("%s is not read: val metrics use a part of train", root / name)
        parts = [root / name for name in ("train", "test") if (root / name).is_dir()]
        return [read_tree(part, cache_dir) for part in parts]
    if (root / "test").is_dir():  # taking all of root would train on the test images
        raise UserError(f"{root} has a folder test but no folder train: add it, or rename test")
    return [read_tree(root, cache_dir)]


def _top(name: str, depth: int) -> str:
    """The first `depth` folders of a path, "" where it has fewer."""
    parts = name.split("/", depth)
    return "/".join(parts[:depth]) if len(parts) > depth else ""


def _class_folders(root: Path, depth: int) -> list[str]:
    """The folders `depth` levels below, and folders above those without subfolders, sorted."""
    folders = subfolders(root)
    if depth == 1:
        return folders
    below = {name: _class_folders(root / name, depth - 1) for name in folders}
    return [f"{name}/{sub}" if sub else name for name in folders for sub in below[name] or [""]]


def _classes(tree: Tree, required: bool, depth: int) -> list[str]:
    """Names of a split's classes, sorted; empty when it is unlabelled."""
    folders = _class_folders(tree.root, depth)
    found = {_top(name, depth) for name in tree.names}
    if "" in found or len(folders) < 2:
        if required:
            _stop_at_no_classes(tree, folders, depth)
        return []
    _stop_at_empty(folders, found, tree.root, "images")
    return folders


def _stop_at_no_classes(tree: Tree, folders: list[str], depth: int) -> None:
    loose = sum(_top(name, depth) == "" for name in tree.names)
    if depth > 1:
        what = f"{loose} images above that" if loose else f"{len(folders)} of them"
        says = (
            f"takes the folders {depth} levels below {tree.root} as classes, at least two, but it "
            f"has {what}: move them, or give 1"
        )
        raise BadValue("class_depth", depth, says=says)
    what = f"{loose} images outside of folders" if loose else f"{len(folders)} folders"
    says = f"but {tree.root} has {what}: give each class a folder, at least two, or give false"
    raise BadValue("labelled", True, says=says)


def _shared_classes(trees: list[Tree], required: bool, depth: int) -> list[str]:
    """The train split's classes, which must be those of the test split."""
    classes = [_classes(tree, required, depth) for tree in trees]
    for one, other in ((0, 1), (1, 0)) if len(trees) == 2 else ():
        missing = [name for name in classes[one] if name not in set(classes[other])]
        if missing:
            raise UserError(
                f"{trees[one].root} has classes that {trees[other].root} lacks: "
                f"{_listed(missing)}; give both the same class folders, or set labelled=false"
            )
    return classes[0]


def _stop_at_empty(class_names: list[str], found: set[str], root: Path, what: str) -> None:
    empty = [name for name in class_names if name not in found]
    if empty:
        raise UserError(
            f"class folders without {what} in {root}: {_listed(empty)}; "
            "fill or remove them, or set labelled=false"
        )


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _tensor_size(
    trees: list[Tree], headers: list[Headers], limit_gb: float
) -> tuple[int, int] | None:
    """(H, W) if every image of all splits has it and all fit the cache together, else None."""
    size = headers[0].size
    if size is None or any(header.size != size for header in headers):
        return None
    num_bytes = sum(len(tree.names) for tree in trees) * 3 * size[0] * size[1]
    return size if num_bytes / 1e9 <= limit_gb else None


def _stop_at_broken(trees: list[Tree], broken: list[dict[str, str]]) -> None:
    for tree, failures in zip(trees, broken, strict=True):
        for name, reason in failures.items():
            raise UserError(
                f"{tree.root / name} {reason}; {len(failures)} of the {len(tree.names)} images in "
                f"{tree.root} are broken: repair or remove them, or set on_error=skip"
            )


def _report_skipped(
    trees: list[Tree], broken: list[dict[str, str]], skipped_list: str | None
) -> None:
    lines = [
        f"{tree.root / name}\t{reason}\n"
        for tree, failures in zip(trees, broken, strict=True)
        for name, reason in failures.items()
    ]
    if skipped_list is not None and is_main_process():
        # even if nothing was skipped, so that no old list remains
        path = Path(skipped_list).expanduser()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            says = f"cannot be written: {error.strerror}"
            raise BadValue("skipped_list", path, says=says) from error
    if lines:
        total = sum(len(tree.names) for tree in trees)
        where = f"; listed in {skipped_list}" if skipped_list is not None else ""
        _log.warning("left out %d of %d images that do not decode%s", len(lines), total, where)


def _all_images(
    tree: Tree, class_names: list[str], depth: int, array: NDArray[np.uint8] | None
) -> Images:
    ids = {name: label for label, name in enumerate(class_names)}
    labels = torch.tensor([ids.get(_top(name, depth), -1) for name in tree.names])
    paths = [str(tree.root / name) for name in tree.names]
    if array is not None:
        return TensorImages(array, labels, paths=paths)
    return FileImages(paths, labels)


def _without(images: Images, tree: Tree, broken: dict[str, str], class_names: list[str]) -> Images:
    if not broken:
        return images
    kept = [i for i, name in enumerate(tree.names) if name not in broken]
    if not kept:
        raise UserError(f"none of the {len(tree.names)} images in {tree.root} decodes")
    left = images.subset(torch.tensor(kept))
    found = {class_names[label] for label in left.labels.unique().tolist() if label >= 0}
    _stop_at_empty(class_names, found, tree.root, "images that decode")
    return left
