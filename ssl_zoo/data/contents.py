"""What a data set's images are, byte by byte: its identity, overlaps of its splits, duplicates."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from ssl_zoo.data.datamodule import DataModule
from ssl_zoo.data.images import Images
from ssl_zoo.types import UserError

_PAIRS = (("train", "test"), ("val", "test"), ("train", "val"))
_BATCH = 512


def contents(data: DataModule) -> dict[str, Any]:
    """A hash of all images with their labels and splits, and what is in more than one place.

    Files are hashed as they are, images in arrays by their pixels.

    Args:
        data: The data module.

    Returns:
        `sha`; `images` of each split; `classes`; `overlaps`: how many different images two splits
        share; `duplicates`: images of train that repeat another one of it; and the `listing` of
        which `sha` is made, a line "SPLIT SHA LABEL" for each image.
    """
    splits = {"train": data.train, "val": data.val, "test": data.test}
    hashes = {name: _hashes(one) if one is not None else [] for name, one in splits.items()}
    lines = list[str]()
    for name, images in splits.items():
        labels = [] if images is None else images.labels.tolist()
        own = sorted(zip(hashes[name], labels, strict=True))
        lines += [f"{name} {sha} {label}\n" for sha, label in own]
    names, listing = list(data.class_names), "".join(lines)
    counts = Counter(hashes["train"])
    return {
        "sha": hashlib.sha256(f"{names!r}{listing}".encode()).hexdigest(),
        "listing": listing,
        "images": {name: len(one) for name, one in hashes.items()},
        "classes": names,
        "overlaps": {f"{a}/{b}": len({*hashes[a]} & {*hashes[b]}) for a, b in _PAIRS},
        "duplicates": sum(count - 1 for count in counts.values()),
    }


def _hashes(images: Images) -> list[str]:
    if (files := images.files()) is not None:
        with ThreadPoolExecutor() as threads:
            return list(threads.map(_of_file, files))
    found = []
    batches = torch.arange(len(images)).split(_BATCH if images.size else 1)
    for batch in images.clean_batches(batches, lambda image: image, 0):
        found += [
            hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest() for image in batch
        ]
    return found


def _of_file(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            found = hashlib.sha256()
            while block := file.read(2**20):
                found.update(block)
            return found.hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
