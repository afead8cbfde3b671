"""Batches of images with boxes."""

from __future__ import annotations

from pathlib import Path

import torch

from ssl_zoo.protocols.detection.batches import eval_batches, train_batches
from ssl_zoo.protocols.detection.splits import read_detection


def test_a_flip_moves_boxes_with_the_pixels(voc: Path) -> None:
    images = read_detection(voc).train
    clean = {t["boxes"].sum().item(): i for b in eval_batches(images, 2) for i, t in b}
    assert len(clean) == 3
    flipped = 0
    for batch in train_batches(images, 3, 8, seed=0):
        for pixels, target in batch:
            flipped += not any(torch.equal(pixels, i) for i in clean.values())
            for (x1, y1, x2, y2), label in zip(
                target["boxes"].int().tolist(), target["labels"].tolist(), strict=True
            ):
                inside = pixels[:, y1:y2, x1:x2].float().mean(dim=(1, 2))
                assert inside.tolist() == ([0, 0, 255] if label == 1 else [255, 0, 0])
    assert 5 <= flipped <= 19  # of 24, at even odds: fails by chance once in 200 seeds


def test_each_epoch_shows_each_image_once_in_an_order_of_its_own(voc: Path) -> None:
    images = read_detection(voc).train

    def order(seed: int) -> list[int]:
        batches = train_batches(images, 2, 9, seed)
        return [int(t["boxes"][:, 3].max()) for batch in batches for _, t in batch]

    shown = order(0)  # the lowest edge of each image tells it: 60, 24, 64
    assert [sorted(shown[i : i + 3]) for i in range(0, 18, 3)] == [[24, 60, 64]] * 6
    assert len({tuple(shown[i : i + 3]) for i in range(0, 18, 3)}) > 1
    assert order(0) == shown != order(1)
