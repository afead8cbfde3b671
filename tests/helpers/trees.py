"""Trees of image files, and data modules on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from PIL import Image

from helpers.configs import Make
from ssl_zoo.data import DataModule
from ssl_zoo.data.datasets.drawn_shapes import draw_shapes


def make_classes(root: Path, classes: list[str], per_class: int = 4, size: int = 8) -> Path:
    """A tree in which every image is flat and of a colour of its own: 40 * class + image."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = np.full((size, size, 3), (c, i, 5 * i + c), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def make_tree(root: Path, sizes: list[tuple[int, int]], per_class: int = 12) -> Path:
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            height, width = sizes[i % len(sizes)]
            pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


COLOURS = {
    **{"r": (220, 20, 20), "g": (20, 200, 20), "b": (20, 20, 220), "y": (210, 210, 20)},
    **{"c": (20, 210, 210), "m": (210, 20, 210), "k": (10, 10, 10), "w": (240, 240, 240)},
}


def make_colours(root: Path, tree: dict[str, str], size: int = 8) -> Path:
    """Flat images: a folder for each entry, an image for each letter of `COLOURS` in it."""
    for folder, letters in tree.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i, letter in enumerate(letters):
            colour = [value + i % 3 for value in COLOURS[letter]]
            pixels = np.full((size, size, 3), colour, dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i:02}.png")
    return root


def data_of(make_config: Make, *overrides: str) -> DataModule:
    data: DataModule = instantiate(make_config(*overrides).data)
    return data


FOLDER = ["dataset=folder", "augmentation=byol", "augmentation.blur_kernel=3", "batch_size=8"]


def folder_of(make_config: Make, tmp_path: Path, root: Path, *overrides: str) -> DataModule:
    paths = [f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    config = make_config(*FOLDER, *paths, *overrides, tiny=False)
    data: DataModule = instantiate(config.data)
    return data


def write_images(root: Path, sizes: list[int], labelled: bool = True, test: bool = True) -> Path:
    """PNG files of two kinds of shape, of the given sizes in turn."""
    for split, start, count in (("train", 0, 400), ("test", 10_000, 120)):
        if split == "test" and not test:
            continue
        images, labels = draw_shapes(torch.arange(start, start + count), seed=0)
        for i in (labels < 2).nonzero().flatten().tolist():
            folder = root / split / (f"class{labels[i]}" if labelled else "")
            folder.mkdir(parents=True, exist_ok=True)
            size = sizes[i % len(sizes)]
            picture = Image.fromarray(images[i].permute(1, 2, 0).numpy())
            picture.resize((size, size)).save(folder / f"{i}.png")
    return root
