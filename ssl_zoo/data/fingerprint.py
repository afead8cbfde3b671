"""What identifies the images of a run, so that it goes on only with the same ones.

Names, labels and some sizes are hashed, never the contents of files: a few seconds for 1.3
million of them. An image that was replaced by another of the same name and size is not noticed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Any

from ssl_zoo.data.images import Images
from ssl_zoo.types import listed

_SIZES = 20_000  # files of a split whose sizes are looked up, evenly spread
_PARTS = ("train", "val", "test")


def split_fingerprint(
    train: Images, val: Images, test: Images | None, class_names: list[str]
) -> dict[str, Any]:
    """Plain data: the classes, and of each part the number of its images and three hashes.

    It does not depend on the folder that they are in. `pool` is the same for another split of
    the same images into train and val.
    """
    parts = {"train": train, "val": val, "test": test}
    described = {part: _described(images) if images else None for part, images in parts.items()}
    files = (train.files(), val.files())
    if files[0] is not None and files[1] is not None:
        pool = _below([*files[0], *files[1]])
    else:
        pool = [*_names(train), *_names(val)]
    classes = list(map(str, class_names))
    return {"classes": classes, "pool": _hashed(sorted(pool)), **described}


def _described(images: Images) -> dict[str, Any]:
    files = images.files()
    return {
        "images": len(images),
        "labels": hashlib.sha256(images.labels.cpu().numpy().tobytes()).hexdigest()[:16],
        "names": _hashed(_names(images)),
        "contents": images.fingerprint() if files is None else _hashed(_sizes(files)),
    }


def _names(images: Images) -> list[str]:
    """The files, else the rows of an array."""
    files = images.files()
    return list(map(str, images.places().tolist())) if files is None else _below(files)


def _below(files: list[str]) -> list[str]:
    """The paths below the folder that holds them all."""
    if not files:
        return []
    shared = os.path.commonpath([os.path.dirname(file) for file in (min(files), max(files))])
    start = len(shared.rstrip("/")) + 1
    return [file[start:] for file in files]


def _hashed(texts: Iterable[str]) -> str:
    text = "\n".join(texts).encode(errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def _sizes(files: list[str]) -> list[str]:
    step = max(1, len(files) // _SIZES)
    return [_size(file) for file in files[::step]]


def _size(file: str) -> str:
    try:
        return str(os.stat(file).st_size)
    except OSError:
        return "unreadable"


def split_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two fingerprints, as in "train has 270 images (was 540)"."""
    changes = _class_changes(old["classes"], new["classes"])
    counts = {part: [_count(one[part]) for one in (old, new)] for part in _PARTS}
    changes += [
        f"{part} has {now} images (was {before})"
        for part, (before, now) in counts.items()
        if before != now
    ]
    moved = any(_names_in(old[part]) != _names_in(new[part]) for part in ("train", "val"))
    if old["pool"] == new["pool"] and moved:
        return [*changes, "train and val are the same images, split differently"]
    for part, (before, now) in counts.items():
        if before == now and before != "no":
            changes += _same_number(part, old[part], new[part])
    return changes


def _names_in(part: dict[str, Any] | None) -> Any:
    return part and part["names"]


def is_other_data(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether steps per epoch, the slots of a bank or the labels are no more the same."""
    sizes = [(_count(one["train"]), len(one["classes"])) for one in (old, new)]
    return sizes[0] != sizes[1]


def _count(part: dict[str, Any] | None) -> str:
    return f"{part['images']:,}" if part and part["images"] else "no"


def _class_changes(old: list[str], new: list[str]) -> list[str]:
    added = [name for name in new if name not in set(old)]
    gone = [name for name in old if name not in set(new)]
    if not added and not gone:
        return ["the classes are in another order"] if old != new else []
    lists = (("new", added), ("gone", gone))
    return [f"{_listed(names)} {_verb(names)} {what}" for what, names in lists if names]


def _listed(names: list[str]) -> str:
    return f"class{'es' if len(names) > 1 else ''} {listed(names)}"


def _verb(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _same_number(part: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    if old["names"] != new["names"]:
        return [f"{part} has as many images, but others or under other names"]
    if old["labels"] != new["labels"]:
        return [f"{part} has other labels"]
    return [f"{part} has files of other contents"] if old["contents"] != new["contents"] else []
