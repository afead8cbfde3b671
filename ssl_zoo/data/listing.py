"""Finding the images below a folder, and saying what else lies there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ssl_zoo.data.kinds import SOME, is_hidden, why_no_image
from ssl_zoo.types import BadValue, UserError

_SHOWN = 8  # reasons in one line


class Found(NamedTuple):
    """What lies below a folder; hidden files and those of the operating system are not in it.

    Attributes:
        names: Paths of the images below it, with "/", in sorted order folder by folder.
        others: Path and reason of each file that is no image.
        folders: Paths of all folders below it, each with a "/" at its end.
    """

    names: list[str]
    others: list[tuple[str, str]]
    folders: list[str]

    def below(self, prefix: str) -> Found:
        """The part in one of the folders, given with its "/"; "" = everything."""
        n = len(prefix)
        return Found(
            [name[n:] for name in self.names if name.startswith(prefix)],
            [(name[n:], reason) for name, reason in self.others if name.startswith(prefix)],
            [f[n:] for f in self.folders if f.startswith(prefix) and f != prefix],
        )

    def tops(self) -> list[str]:
        """The folders of the first level that hold images, at any depth."""
        return list(dict.fromkeys(name.split("/", 1)[0] for name in self.names if "/" in name))

    def left_out(self) -> dict[str, int]:
        """How many files are no images, by reason."""
        return counted(reason for _, reason in self.others)


def counted(reasons: Iterable[str]) -> dict[str, int]:
    """How often each occurs, the most frequent first."""
    return dict(Counter(reasons).most_common())


def together(*counts: Mapping[str, int]) -> dict[str, int]:
    """The sums of several counts by reason."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def shown(left_out: Mapping[str, int]) -> str:
    """Counts by reason as a text: "12 x .txt: not an image that Pillow reads, ..."."""
    parts = [f"{count:,} x {reason}" for reason, count in left_out.items()]
    more = len(parts) - _SHOWN
    return "; ".join(parts[:_SHOWN]) + (f"; and {more} more reasons" if more > 0 else "")


def find_images(root: Path) -> Found:
    """The images below a folder, and the other files; symbolic links are followed.

    Raises:
        UserError: The folder does not exist, cannot be read, or holds no image.
    """
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise BadValue("root", root, says=f"{state}: give a folder of images")
    found = Found([], [], [])
    for path, is_folder in _walk(str(root), "", frozenset()):
        if is_folder:
            found.folders.append(path)
        elif (reason := why_no_image(f"{root}/{path}")) is None:
            found.names.append(path)
        else:
            found.others.append((path, reason))
    check_any(found, root)
    return found


def check_any(found: Found, root: Path) -> None:
    """Refuse a folder without images.

    Raises:
        UserError: Saying what it holds instead.
    """
    if not found.names:
        holds = f"; it holds {shown(found.left_out())}" if found.others else ""
        says = f"holds no image: give a folder with any of {SOME} or what else Pillow reads{holds}"
        raise BadValue("root", root, says=says)


def _walk(
    folder: str, prefix: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, bool]]:
    """Path below the first folder, and whether it is a folder."""
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a symbolic link back to a folder that holds it
        return
    for entry in _entries(folder):
        if entry.is_dir():
            path = f"{prefix}{entry.name}/"
            yield path, True
            yield from _walk(entry.path, path, above | {identity})
        elif entry.is_file() or entry.is_symlink():  # a dangling link is reported as broken
            yield prefix + entry.name, False


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """A folder's entries that are not hidden, sorted by name: the system's order is arbitrary."""
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if not is_hidden(e.name)), key=lambda e: e.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error
