"""Batches of images with boxes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssl_zoo.data.decode import decode
from ssl_zoo.data.samplers import epoch_order
from ssl_zoo.hashing import DETECTION_FLIP_STREAM, hash_int64
from ssl_zoo.protocols.detection.boxes import BoxedImage

Batch = list[tuple[Tensor, dict[str, Tensor]]]


class _Images(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """(index, flip) -> the uint8 image (3, H, W) and its boxes, labels, iscrowd."""

    def __init__(self, images: list[BoxedImage]) -> None:
        self.images = images

    def __getitem__(self, key: tuple[int, bool]) -> tuple[Tensor, dict[str, Tensor]]:
        index, flip = key
        path, (_, width), boxes, labels, ignored = self.images[index]
        pixels = torch.from_numpy(decode(path)).permute(2, 0, 1)
        if flip:
            pixels = pixels.flip(-1)
            x1, y1, x2, y2 = boxes.unbind(dim=1)
            boxes = torch.stack([width - x2, y1, width - x1, y2], dim=1)
        return pixels, {"boxes": boxes, "labels": labels, "iscrowd": ignored.long()}


def train_batches(
    images: list[BoxedImage],
    batch_size: int,
    num_iterations: int,
    seed: int,
    num_workers: int = 0,
) -> Iterable[Batch]:
    """`num_iterations` batches of shuffled epochs, each image flipped half the time.

    Order and flips are functions of (seed, epoch, index); the last batch of an epoch is filled
    from the next. Ignored boxes are removed.
    """
    shown = [
        image._replace(
            boxes=image.boxes[~image.ignored],
            labels=image.labels[~image.ignored],
            ignored=image.ignored[~image.ignored],
        )
        for image in images
    ]
    return _loader(shown, _train_keys(len(images), batch_size, num_iterations, seed), num_workers)


def eval_batches(
    images: list[BoxedImage], batch_size: int, num_workers: int = 0
) -> Iterable[Batch]:
    """All images in order, with all boxes, never flipped."""
    keys = [(i, False) for i in range(len(images))]
    batches = (keys[i : i + batch_size] for i in range(0, len(keys), batch_size))
    return _loader(images, batches, num_workers)


def _train_keys(
    num_images: int, batch_size: int, num_iterations: int, seed: int
) -> Iterator[list[tuple[int, bool]]]:
    def keys() -> Iterator[tuple[int, bool]]:
        epoch = 0
        while True:
            order = epoch_order(num_images, seed, epoch)
            flips = hash_int64(order, DETECTION_FLIP_STREAM, seed, epoch) & 1
            yield from zip(order.tolist(), flips.bool().tolist(), strict=True)
            epoch += 1

    stream = keys()
    for _ in range(num_iterations):
        yield [next(stream) for _ in range(batch_size)]


def _loader(
    images: list[BoxedImage], batches: Iterator[list[tuple[int, bool]]], num_workers: int
) -> Iterable[Batch]:
    return DataLoader(
        _Images(images),
        batch_sampler=batches,
        collate_fn=list,
        num_workers=num_workers,
        generator=torch.Generator(),  # else the loader takes a number from the global generator
    )
