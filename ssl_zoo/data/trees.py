"""Trees of image files: decoding them, and caching what the passes over them found."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from ssl_zoo.data.decode import decode, header
from ssl_zoo.types import UserError
from ssl_zoo.writing import write_atomically, write_text

_DECODER_VERSION = 2  # part of every cache key: raise it when `decode` gives different pixels
CACHE_DIR = "~/.cache/ssl_zoo"
_CHUNK = 256  # files in flight at once, which bounds the memory of a pass
_LONG = 1000  # from this many files, a pass shows its progress
_ELSEWHERE = "set cache_dir to another folder"

T = TypeVar("T")


class Tree(NamedTuple):
    """Images under one folder.

    Attributes:
        root: The folder.
        names: Paths below it, with "/", in sorted order.
        cache: Where the tree's cache files go, without suffix; changes when any file does.
        white: The value that is white in files of 16 bits; None = 65535.
    """

    root: Path
    names: list[str]
    cache: Path
    white: int | None = None

    def decode(self, path: Path) -> NDArray[np.uint8]:
        """One of its files."""
        return decode(path, self.white)


class Headers(NamedTuple):
    """What the headers of a tree say.

    Attributes:
        most: (H, W) that the most images have; None if no header opens.
        num_most: How many have it.
        num_opened: How many headers open.
        frames: How many frames or pages follow the first, for each file that has several.
        broken: Reason by name for each file whose header does not open.
        deep: The places, among the tree's names, of the files of 16 bits.
    """

    most: tuple[int, int] | None
    num_most: int
    num_opened: int
    frames: list[int]
    broken: dict[str, str]
    deep: list[int]

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) when all images share it, else None."""
        return self.most if self.num_most == self.num_opened else None

    @property
    def common_size(self) -> tuple[int, int] | None:
        """(H, W) that all images share but one, or but a tenth; None if sizes are mixed."""
        others = self.num_opened - self.num_most
        nearly_all = others <= max(1, self.num_opened // 10) and self.num_most > others
        return self.most if nearly_all else None


# ---- cache files ----


def cache_stem(root: Path, names: list[str], cache_dir: Path, white: int | None = None) -> Path:
    """The path, without suffix, of the cache files of these files under `root`.

    The name hashes the root, the decoder's version, and every file's path, size and mtime; and the
    white level, if there is one.
    """
    version = f"{_DECODER_VERSION}" + ("" if white is None else f" white={white}")
    digest = hashlib.sha256(f"{version}\n{root.resolve()}\n".encode(errors="replace"))
    for name in names:
        try:
            status = os.stat(root / name)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # such as a dangling link; the passes report it as broken
            state = "unreadable"
        digest.update(os.fsencode(name) + f"\0{state}\n".encode())
    return cache_dir / digest.hexdigest()[:32]


def tree_of(root: Path, names: list[str], cache_dir: Path, white: int | None = None) -> Tree:
    """Images under a folder, with the place of their cache."""
    return Tree(root, names, cache_stem(root, names, cache_dir, white), white)


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


def _remembered(
    tree: Tree, file: Path, function: Callable[[Path], object]
) -> dict[str, Any] | None:
    """A finished pass's record, unless a file that failed works now (permissions, a flaky disk)."""
    try:
        record: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    if any(
        not isinstance(_attempt(function, tree.root / name), UserError) for name in record["broken"]
    ):
        return None
    return record


def _remember(file: Path, record: dict[str, Any]) -> None:
    write_text(file, json.dumps(record), fix=_ELSEWHERE)


def scan_headers(tree: Tree, num_threads: int | None = None) -> Headers:
    """Open every header once; later calls read the cache.

    Raises:
        UserError: The cache cannot be written.
    """
    file = tree.cache.with_suffix(".headers.json")
    record = _remembered(tree, file, header)
    if record is not None and "deep" in record:  # older files lack it
        most = tuple(record["most"]) if record["most"] else None
        return Headers(**record | {"most": most})
    sizes: Counter[tuple[int, int]] = Counter()
    frames: list[int] = []
    deep: list[int] = []
    broken: dict[str, str] = {}
    for i, (name, result) in enumerate(_each(tree, header, "reading headers in", num_threads)):
        if isinstance(result, UserError):
            broken[name] = _reason(tree, name, result)
            continue
        sizes[result.size] += 1
        if result.deep:
            deep.append(i)
        if result.frames > 1:
            frames.append(result.frames - 1)
    most, count = sizes.most_common(1)[0] if sizes else (None, 0)
    found = Headers(most, count, sizes.total(), frames, broken, deep)
    _remember(file, found._asdict())
    return found


def verify(tree: Tree, num_threads: int | None = None) -> dict[str, str]:
    """Decode every file once and keep only the failures; later calls read the cache.

    Returns:
        Reason by name for each file that does not decode.

    Raises:
        UserError: The cache cannot be written.
    """
    file = tree.cache.with_suffix(".decoded.json")
    if (record := _remembered(tree, file, tree.decode)) is not None:
        return dict(record["broken"])
    broken: dict[str, str] = {}
    for name, result in _each(tree, tree.decode, "checking", num_threads):
        if isinstance(result, UserError):
            broken[name] = _reason(tree, name, result)
    _remember(file, {"broken": broken})
    return broken


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
    record = _remembered(tree, record_file, tree.decode)
    if record is not None and array_file.exists():
        return np.load(array_file, mmap_mode="r"), dict(record["broken"])
    broken: dict[str, str] = {}

    def rows() -> Iterator[NDArray[np.uint8]]:
        for name, result in _each(tree, tree.decode, "decoding", num_threads):
            if isinstance(result, np.ndarray) and result.shape == (*size, 3):
                yield result.transpose(2, 0, 1)
                continue
            if isinstance(result, np.ndarray):
                result = UserError(f"decodes to {result.shape[:2]}, its header says {size}")
            broken[name] = _reason(tree, name, result)
            yield np.zeros((3, *size), np.uint8)

    write_array(array_file, (len(tree.names), 3, *size), rows())
    _remember(record_file, {"broken": broken})
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
