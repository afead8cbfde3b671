"""What the names of folders say about splits."""

from __future__ import annotations

import re
from typing import Literal

Role = Literal["train", "val", "test"]

_WORDS: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
_FILLERS = {
    *("seg", "set", "sets", "data", "split", "subset", "folder", "file", "files", "my", "raw"),
    *("image", "images", "img", "imgs", "photo", "photos", "pic", "pics", "picture", "pictures"),
    *("sample", "samples", "original", "resized", "final"),
}
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of trainA, seg_train, TrainSet, train2017


def _words(name: str) -> list[str]:
    parts = [part.lower() for part in _PART.findall(name)]
    words = [part.removesuffix("set") or part for part in parts]  # trainset
    return [word for word in words if word not in _FILLERS]


def role(name: str) -> Role | None:
    """The split that a folder's name means: Training, seg_train, test_set, val2017; else None."""
    words = _words(name)
    return _WORDS.get(words[0]) if len(words) == 1 else None


def looks_like(name: str) -> set[Role]:
    """The splits that a name also reminds of, as trainA and fruit_test do."""
    return {_WORDS[word] for word in _words(name) if word in _WORDS}


def without_split(name: str) -> list[str]:
    """The words of a name that say nothing of a split: cat, of cat_test."""
    return [word for word in _words(name) if word not in _WORDS]
