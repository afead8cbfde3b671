"""Trees of image files: finding them, decoding them, and caching both passes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from ssl_zoo.data.decode import EXTENSIONS, decode, image_size
from ssl_zoo.types import BadValue, UserError
from ssl_zoo.writing import write_atomically, write_text

_DECODER_VERSION = 1  # part of every cache key: raise it when `decode` gives different pixels
CACHE_DIR = "~/.cache/ssl_zoo"
_CHUNK = 256  # files in flight at once, which bounds the memory of a pass
_LONG = 1000  # from this many files, a pass shows its progress
_ELSEWHERE = "set cache_dir to another folder"

T = TypeVar("T")


class Tree(NamedTuple):
    """The images under one folder.

    Attributes:
        root: The folder.
        names: Paths below it, with "/", in sorted order.
        cache: Where the tree's cache files go, without suffix; changes when any file does.
    """

    root: Path
    names: list[str]
    cache: Path


class Headers(NamedTuple):
    """What the headers of a tree say.

    Attributes:
        size: (H, W) when all images share it, else None.
        broken: Reason by name for each file whose header does not open.
    """

    size: tuple[int, int] | None
    broken: dict[str, str]


# ---- one folder ----


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """A folder's entries that are not hidden, sorted by name: the system's order is arbitrary."""
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a symbolic link back to a folder that holds it
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {identity})
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            yield prefix + entry.name


def find_names(root: Path) -> list[str]:
    """Paths of all images under a folder, relative to it, with "/" as separator.

    Hidden files and folders are left out; symbolic links are followed; extensions may be in any
    case.

    Raises:
        UserError: The folder does not exist, cannot be read, or holds no image.
    """
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise BadValue("root", root, says=f"{state}: give a folder of images")
    names = list(_walk(str(root), "", frozenset()))
    if not names:
        kinds = " ".join(kind[1:] for kind in EXTENSIONS)
        raise BadValue("root", root, says=f"holds no image: give a folder with any of {kinds}")
    return names


def subfolders(root: Path) -> list[str]:
    """Names of a folder's own subfolders that are not hidden, sorted."""
    return [entry.name for entry in _entries(str(root)) if entry.is_dir()]


# ---- cache files ----


def cache_stem(root: Path, names: list[str], cache_dir: Path) -> Path:
    """The path, without suffix, of the cache files of these files under `root`.

    The name hashes the root, the decoder's version, and every file's path, size and mtime.
    """
    digest = hashlib.sha256(f"{_DECODER_VERSION}\n{root.resolve()}\n".encode(errors="replace"))
    for name in names:
        try:
            status = os.stat(root / name)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # such as a dangling link; the passes report it as broken
            state = "unreadable"
        digest.update(os.fsencode(name) + f"\0{state}\n".encode())
    return cache_dir / digest.hexdigest()[:32]


def read_tree(root: Path, cache_dir: Path) -> Tree:
    """List the images under a folder.

    Raises:
        UserError: The folder does not exist, cannot be read, or holds no image.
    """
    names = find_names(root)
    return Tree(root, names, cache_stem(root, names, cache_dir))


# ---- passes over a tree ----


def _attempt(function: Callable[[Path], T], path: Path) -> T | UserError:
    try:
        return function(path)
    except UserError as error:
        return error


def _each(
    tree: Tree, function: Callable[[Path], T], title: str, num_threads: int | None
) -> Iterator[tuple[str, T | UserError]]:
    """Name and result or error for each file, in order, computed by threads."""
    total = len(tree.names)
    console = Console(stderr=True)
    short = total < _LONG or not console.is_terminal
    progress = Progress(console=console, transient=True, disable=short)
    with ThreadPoolExecutor(num_threads) as pool, progress:
        task = progress.add_task(f"{title} {tree.root}", total=total)
        for start in range(0, total, _CHUNK):
            chunk = tree.names[start : start + _CHUNK]
            yield from zip(
                chunk,
                pool.map(lambda name: _attempt(function, tree.root / name), chunk),
                strict=True,
            )
            progress.advance(task, len(chunk))


def _reason(tree: Tree, name: str, error: UserError) -> str:
    return str(error).removeprefix(f"{tree.root / name} ")


def _remembered(tree: Tree, file: Path, function: Callable[[Path], object]) -> Headers | None:
    """A finished pass's record, unless a file that failed works now (permissions, a flaky disk)."""
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    if any(
        not isinstance(_attempt(function, tree.root / name), UserError) for name in record["broken"]
    ):
        return None
    return Headers(tuple(record["size"]) if record["size"] else None, record["broken"])


def _remember(file: Path, record: Headers) -> Headers:
    write_text(file, json.dumps(record._asdict()), fix=_ELSEWHERE)
    return record


def scan_headers(tree: Tree, num_threads: int | None = None) -> Headers:
    """Open every header once; later calls read the cache.

    Raises:
        UserError: The cache cannot be written.
    """
    file = tree.cache.with_suffix(".headers.json")
    if (record := _remembered(tree, file, image_size)) is not None:
        return record
    sizes: set[tuple[int, int]] = set()
    broken: dict[str, str] = {}
    for name, result in _each(tree, image_size, "reading headers in", num_threads):
        if isinstance(result, UserError):
            broken[name] = _reason(tree, name, result)
        else:
            sizes.add(result)
    return _remember(file, Headers(sizes.pop() if len(sizes) == 1 else None, broken))


def verify(tree: Tree, num_threads: int | None = None) -> dict[str, str]:
    """Decode every file once and keep only the failures; later calls read the cache.

    Returns:
        Reason by name for each file that does not decode.

    Raises:
        UserError: The cache cannot be written.
    """
    file = tree.cache.with_suffix(".decoded.json")
    if (record := _remembered(tree, file, decode)) is not None:
        return record.broken
    broken: dict[str, str] = {}
    for name, result in _each(tree, decode, "checking", num_threads):
        if isinstance(result, UserError):
            broken[name] = _reason(tree, name, result)
    return _remember(file, Headers(None, broken)).broken


def decode_tree(
    tree: Tree, size: tuple[int, int], num_threads: int | None = None
) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Decode every file once into one array on disk; later calls map it without opening an image.

    Args:
        tree: N files.
        size: (H, W) of all of them.
        num_threads: Decoding threads; None leaves it to Python.

    Returns:
        The array (N, 3, H, W) uint8, memory-mapped and read-only, and the reason by name for each
        file that does not decode; the rows of those are zeros.

    Raises:
        UserError: The cache cannot be written.
    """
    array_file = tree.cache.with_suffix(".npy")
    record_file = tree.cache.with_suffix(".decoded.json")
    record = _remembered(tree, record_file, decode)
    if record is not None and array_file.exists():
        return np.load(array_file, mmap_mode="r"), record.broken
    broken: dict[str, str] = {}

    def rows() -> Iterator[NDArray[np.uint8]]:
        for name, result in _each(tree, decode, "decoding", num_threads):
            if isinstance(result, np.ndarray) and result.shape == (*size, 3):
                yield result.transpose(2, 0, 1)
                continue
            if isinstance(result, np.ndarray):
                result = UserError(f"decodes to {result.shape[:2]}, its header says {size}")
            broken[name] = _reason(tree, name, result)
            yield np.zeros((3, *size), np.uint8)

    write_array(array_file, (len(tree.names), 3, *size), rows())
    _remember(record_file, Headers(size, broken))
    return np.load(array_file, mmap_mode="r"), broken


def write_array(path: Path, shape: tuple[int, ...], parts: Iterator[NDArray[np.uint8]]) -> None:
    """Write a uint8 .npy file part by part, atomically, so that it need not fit in memory.

    Plain writes and not a memory map: a full disk is then an error and not a killed process.

    Raises:
        UserError: The folder cannot be written, or its disk is full.
    """

    def write(file: IO[bytes]) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.tobytes())

    write_atomically(path, write, fix=_ELSEWHERE)
