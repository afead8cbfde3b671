"""An image as annotated, in either format, and the values that both formats write."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssl_zoo.protocols.detection.notes import Notes

_FLAGS = {
    **dict.fromkeys(("", "0", "0.0", "false", "f", "no", "n"), False),
    **dict.fromkeys(("1", "1.0", "true", "t", "yes", "y"), True),
}
_UNSET = ("unspecified", "none", "null", "nan", "unknown", "n/a")  # as labelling tools write it


class Object(NamedTuple):
    """One object of an image: its class, x1 y1 x2 y2 in pixels, and whether it is ignored."""

    name: str
    box: tuple[float, float, float, float]
    ignored: bool


class Record(NamedTuple):
    """One image as annotated; `place` says where, for messages."""

    place: str
    path: Path
    stated_size: tuple[int, int] | None
    objects: list[Object]


def text_of(content: bytes) -> str:
    """A file's text in UTF-8, 16 or 32, with or without a byte order mark."""
    return content.decode(json.detect_encoding(content))


def class_name(text: str) -> str:
    """A class's name, the same for all Unicode forms of a text and for blanks around it."""
    return unicodedata.normalize("NFC", text).strip()


def shown(value: Any) -> str:
    """A value as JSON writes it, for messages."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def number(value: Any) -> float | None:
    """A finite number, also written as text; None if it is not one."""
    if isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def stated_size(height: Any, width: Any) -> tuple[int, int] | None:
    """(H, W) as stated; None if missing or 0, as some tools write."""
    size = number(height), number(width)
    if size[0] is None or size[1] is None or min(size[0], size[1]) <= 0:
        return None
    return int(size[0]), int(size[1])


def flag(value: Any, key: str, place: str, notes: Notes) -> bool:
    """VOC's difficult and COCO's iscrowd: 0 or 1, however it is written; false if missing."""
    text = "" if value is None else str(value).strip().lower()
    if text in _UNSET:
        notes.guess(f"objects have {key}={value}, which is read as 0", place)
    elif text not in _FLAGS:
        notes.refuse(key, f"{place}: {key} is {shown(value)}: write 0 or 1")
    return _FLAGS.get(text, False)


def in_fractions(numbers: Sequence[float]) -> bool:
    """Whether a box is given in fractions of its image: in pixels it would be a dot in a corner."""
    within = all(-0.01 <= value <= 1.01 for value in numbers)
    whole = all(value == int(value) for value in numbers)
    return within and (not whole or tuple(numbers) == (0, 0, 1, 1))
