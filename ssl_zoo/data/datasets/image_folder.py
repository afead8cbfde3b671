"""Any tree of images as a data set."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_zoo.console import info, warn
from ssl_zoo.data.datasets.class_folders import numbered, stop_at_empty, top, with_classes
from ssl_zoo.data.datasets.layout import Part, find_layout
from ssl_zoo.data.datasets.white_level import check_white
from ssl_zoo.data.decode import FULL_RANGE
from ssl_zoo.data.images import FileImages, Images, Splits, TensorImages
from ssl_zoo.data.listing import counted, find_images, together
from ssl_zoo.data.pixels import say_frames
from ssl_zoo.data.splits import stratified_split
from ssl_zoo.data.trees import (
    CACHE_DIR,
    Headers,
    Tree,
    decode_tree,
    scan_headers,
    tree_of,
    verify,
)
from ssl_zoo.distributed import is_main_process
from ssl_zoo.types import BadValue, UserError

_TEST_SEED = 0  # of test_fraction: no knob changes which images are test
_SMALL = 256  # pixels of the longer side up to which images are kept decoded

_log = logging.getLogger("ssl_zoo")


def folder(
    root: str | Path,
    on_error: Literal["stop", "skip"] = "stop",
    labelled: bool | Literal["auto"] = "auto",
    class_depth: int = 1,
    test_folder: str | None = None,
    white: int | None = None,
    cache_dir: str | Path = CACHE_DIR,
    cache_limit_gb: float = 8.0,
    skipped_list: str | None = None,
    num_threads: int | None = None,
    test_fraction: float = 0.0,
) -> Splits:
    """A tree of images: its splits if it has folders of such names, else all of it as train.

    Names of splits are train, val, test and their usual variants in any case (Training, valid,
    seg_test, val2017 ...), also inside of a single folder. The folders directly below a split are
    its classes, at any depth below; a few images outside of them are left out. A split whose images
    mostly lie outside of folders, or that has fewer than two, is unlabelled; val and test may have
    fewer classes than train, or others, whose labels come after train's. With `class_depth` 2,
    classes are the folders two levels below, such as alphabet/character.

    Small images that all have one size are decoded once into a memory-mapped cache; others are
    decoded when they are needed.

    Args:
        root: The folder.
        on_error: What to do about files that do not decode: "stop", or "skip" to leave them out.
        labelled: Whether folders are classes; "auto" decides by the tree.
        class_depth: How many folders below the split name the class; above 1, classes are required.
        test_folder: The folder that is test, such as "val"; None = the one whose name says so.
        white: The value that is white in files of 16 bits, such as 4095 for 12 bits; None = 65535.
        cache_dir: Where decoded images and the results of checks are kept.
        cache_limit_gb: If all splits exceed this size, in units of 1e9 bytes, they are not cached.
        skipped_list: Where to list the files left out, one per line with its reason.
        num_threads: Decoding threads; None leaves it to Python.
        test_fraction: Part of each class that is held out as test, the same images in every run,
            if the tree has no test.

    Raises:
        UserError: There is no such folder, no image, a class of train without images, a
            file that does not decode (unless skipped), folders that look like splits but have
            other names, images above `class_depth`, or an unknown option.
    """
    _check_options(root, on_error, labelled, class_depth, white)
    place, cache = Path(root).expanduser().absolute(), Path(cache_dir).expanduser()
    layout = find_layout(find_images(place), place, labelled, class_depth, test_folder)
    layout, classes = with_classes(layout, labelled, class_depth)
    labels = numbered(classes)
    parts = {split: part for split, part in layout._asdict().items() if part is not None}
    trees = [tree_of(part.root, part.found.names, cache, white) for part in parts.values()]
    _look_for_same_files(trees)
    headers = [scan_headers(tree, num_threads) for tree in trees]
    _say_unusual(trees, headers, white)
    if on_error == "stop":
        _stop_at_broken(trees, [header.broken for header in headers])
    arrays, broken = _decoded(trees, headers, on_error, cache_limit_gb, num_threads)
    if on_error == "stop":
        _stop_at_broken(trees, broken)
    else:
        _report_skipped(trees, broken, skipped_list)
    splits: dict[str, Any] = {"test": None, "class_names": list(labels), "white": white}
    for i, (split, part) in enumerate(parts.items()):
        ids = {name: labels[name] for name in classes[split]}
        failed = counted(reason.split(":")[0] for reason in broken[i].values())
        left_out = together(part.left_out, _frames(headers[i]), failed)
        images = _images(trees[i], headers[i], ids, class_depth, arrays[i : i + 1])
        images = replace(images, left_out=left_out)
        required = {} if split == "val" else ids
        splits[split] = _without(images, part, broken[i], required, class_depth)
    return _with_test(Splits(**splits), test_fraction, root)


def _with_test(splits: Splits, fraction: float, root: str | Path) -> Splits:
    """The splits with a part of each class of train as test, where there is no test."""
    if not 0 <= fraction < 1:
        raise BadValue("test_fraction", fraction, "in [0, 1)")
    if not fraction or splits.test is not None:
        return splits
    kept, held_out = stratified_split(splits.train.labels, fraction, _TEST_SEED)
    if not len(held_out):
        says = (
            f"holds a part of each class out, and {root} has no class folders with two images or "
            "more: put the images of each class into a folder of its own"
        )
        raise BadValue("test_fraction", fraction, says=says)
    train, test = splits.train.subset(kept), splits.train.subset(held_out)
    return splits._replace(train=train, test=test)


def _check_options(
    root: str | Path, on_error: str, labelled: bool | str, class_depth: int, white: int | None
) -> None:
    if not str(root).strip():
        raise BadValue("root", root, says="names no folder: give one, or . for the present one")
    if class_depth < 1:
        raise BadValue("class_depth", class_depth, "at least 1")
    if class_depth > 1 and labelled is False:
        says = "needs classes: remove labelled=false"
        raise BadValue("class_depth", class_depth, says=says)
    if on_error not in ("stop", "skip"):
        raise BadValue("on_error", on_error, "stop or skip")
    if labelled not in (True, False, "auto"):
        raise BadValue("labelled", labelled, "auto, true or false")
    if white is not None and not 1 <= white <= FULL_RANGE:
        raise BadValue("white", white, f"in 1 to {FULL_RANGE}, such as 4095 for 12 bits, or null")


def _look_for_same_files(trees: list[Tree]) -> None:
    """Refuse a file that is in two splits by a link, symbolic or hard; say if twice in one."""
    known = [(tree, _inodes(tree)) for tree in trees]
    for tree, numbers in known:
        _say_repeated(tree, numbers)
    for (one, first), (other, second) in combinations(known, 2):
        shared, rows, others = np.intersect1d(first, second, return_indices=True)
        for number, i, j in zip(shared, rows, others, strict=True):
            path, twin = one.root / one.names[i], other.root / other.names[j]
            if number and path.samefile(twin):  # disks number their files alike
                raise UserError(
                    f"{path} and {twin} are the same file by a link: no image may be in two "
                    "splits, so remove one"
                )


def _say_repeated(tree: Tree, numbers: NDArray[np.uint64]) -> None:
    first: dict[int, Path] = {}
    again: list[tuple[Path, Path]] = []
    for name, number in zip(tree.names, numbers.tolist(), strict=True):
        path = tree.root / name
        twin = first.setdefault(number, path)
        if number and twin is not path and path.samefile(twin):
            again.append((path, twin))
    if again:
        path, twin = again[0]
        warn(
            f"{path} and {twin} are the same file by a link, and count as two images; "
            f"{len(again)} such in {tree.root}: remove the links, or a held-out part of train "
            "may repeat what is trained on"
        )


def _inodes(tree: Tree) -> NDArray[np.uint64]:
    """The number of each file, 0 where it cannot be opened, as with a dangling link."""

    def of(path: Path) -> int:
        try:
            return path.stat().st_ino
        except OSError:
            return 0

    numbers = (of(tree.root / name) for name in tree.names)
    return np.fromiter(numbers, np.uint64, len(tree.names))


def _say_unusual(trees: list[Tree], headers: list[Headers], white: int | None) -> None:
    """Say what is not as one might think: frames that are not read, odd sizes, dark files."""
    say_frames([count for header in headers for count in header.frames])
    _say_odd_sizes(trees[0], headers[0])
    check_white(trees[0], headers[0].deep, white)


def _say_odd_sizes(tree: Tree, headers: Headers) -> None:
    """Say that a few images differ in size, which makes no difference."""
    size = headers.common_size
    if size is not None and headers.size is None:
        info(
            f"{headers.num_most:,} images in {tree.root} are {size[1]} x {size[0]} pixels "
            f"(width x height); "
            f"{headers.num_opened - headers.num_most:,} of another size are read as if they were"
        )


def _frames(headers: Headers) -> dict[str, int]:
    reason = "frames or pages after the first of their file"
    return {reason: sum(headers.frames)} if headers.frames else {}


def _decoded(
    trees: list[Tree],
    headers: list[Headers],
    on_error: str,
    limit_gb: float,
    num_threads: int | None,
) -> tuple[list[NDArray[np.uint8]], list[dict[str, str]]]:
    """The trees' arrays if they are kept decoded, else none; and what is broken in each tree."""
    if (size := _tensor_size(trees, headers, limit_gb)) is not None:
        decoded = [decode_tree(tree, size, num_threads) for tree in trees]
        return [array for array, _ in decoded], [failures for _, failures in decoded]
    if on_error == "skip":
        return [], [verify(tree, num_threads) for tree in trees]
    return [], [header.broken for header in headers]


def _tensor_size(
    trees: list[Tree], headers: list[Headers], limit_gb: float
) -> tuple[int, int] | None:
    """(H, W) if every image of all splits has it, and all are small and fit the cache, else None.

    Where the pixels are kept makes no difference to what is learned.
    """
    size = headers[0].size
    if size is None or max(size) > _SMALL or any(header.size != size for header in headers):
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
        first = lines[0].strip().replace("\t", " ")
        where = f"; all are listed in {skipped_list}" if skipped_list is not None else ""
        of = f"{len(lines)} of {total} images that cannot be read"
        _log.warning("left out %s, such as %s%s", of, first, where)


def _images(
    tree: Tree,
    headers: Headers,
    ids: dict[str, int],
    depth: int,
    arrays: list[NDArray[np.uint8]],
) -> FileImages | TensorImages:
    labels = torch.tensor([ids.get(top(name, depth), -1) for name in tree.names])
    paths = [str(tree.root / name) for name in tree.names]
    if arrays:
        return TensorImages(arrays[0], labels, paths=paths)
    return FileImages(paths, labels, common=headers.common_size, white=tree.white)


def _without(
    images: Images, part: Part, broken: dict[str, str], ids: dict[str, int], depth: int
) -> Images:
    """The images that are not broken; each of the classes must have some."""
    if not broken:
        return images
    names = part.found.names
    kept = [i for i, name in enumerate(names) if name not in broken]
    if not kept:
        raise UserError(f"none of the {len(names)} images in {part.root} decodes")
    left = images.subset(torch.tensor(kept))
    labels = left.labels.unique().tolist()
    found = {name for name, label in ids.items() if label in labels}
    stop_at_empty(list(ids), found, part, "images that decode", depth)
    return left
