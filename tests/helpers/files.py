"""Image files, trees of them, and damaged archives."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ssl_zoo.data import datasets
from ssl_zoo.data.images import Images, Splits


def write_image(path: Path, seed: int, size: tuple[int, int] = (4, 5)) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def write_tree(root: Path, *names: str, mixed: bool = False) -> dict[str, NDArray[np.uint8]]:
    return {
        name: write_image(root / name, i, (4 + i if mixed else 4, 5))
        for i, name in enumerate(names)
    }


def rgb(images: Images, i: int) -> NDArray[np.uint8]:
    one = [torch.tensor([i])]
    ((chw,),) = images.clean_batches(one, lambda as_it_is: as_it_is, num_workers=0)
    assert chw.dtype == torch.uint8
    return chw.permute(1, 2, 0).numpy()


def open_folder(root: Path, **options: Any) -> Splits:
    return datasets.folder(root, cache_dir=root.parent / "cache", num_threads=2, **options)


def flip(path: Path, entry: str) -> None:
    """Change a byte in the middle of an archive's entry."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read(next(n for n in archive.namelist() if n.endswith(entry)))
    data = bytearray(path.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 0x40
    path.write_bytes(data)
