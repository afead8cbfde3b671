"""Finding files whose names are written in another way than on disk."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from ssl_zoo.data.kinds import is_hidden, why_no_image

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # preferred in this order


class Files:
    """Finds files by names that differ in case, ending or Unicode form; lists a folder once."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, list[Path]]] = {}

    def like(self, path: Path) -> Path | None:
        """The file itself, else the only one whose name differs in case or Unicode form alone."""
        if os.path.isfile(path):
            return path
        found = [
            p for p in self._stems(path.parent, path.stem) if _fold(p.name) == _fold(path.name)
        ]
        return found[0] if len(found) == 1 else None

    def images(self, stem: Path) -> list[Path]:
        """The images that have this path but for the ending, the usual formats first."""
        found = [p for p in self._stems(stem.parent, stem.name) if why_no_image(str(p)) is None]
        exact = [path for path in found if path.stem == stem.name]
        return sorted(exact or found, key=_preference)

    def _stems(self, folder: Path, stem: str) -> list[Path]:
        if folder not in self._listed:
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            listed = self._listed[folder] = {}
            for path in (folder / name for name in names if not is_hidden(name)):
                listed.setdefault(_fold(path.stem), []).append(path)
        return [path for path in self._listed[folder].get(_fold(stem), []) if path.is_file()]


def base_name(text: str) -> str:
    """The last part of a path, whichever system wrote it."""
    return text.replace("\\", "/").rsplit("/", 1)[-1]


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _preference(path: Path) -> tuple[int, str]:
    ending = path.suffix.lower()
    return (_EXTENSIONS.index(ending) if ending in _EXTENSIONS else len(_EXTENSIONS)), path.name
