"""Views per second of the batched augmentation, compared with torchvision on PIL images.

    python benchmarks/augment.py            on one thread and on two

One table, all made in one run: SimCLR's augmentation of 32x32 images (crop, flip, jitter of half
the strength, grayscale), batches of 256, 2 views. The rows take turns, so that other load on
the machine affects all equally. `ratio` is to torchvision on one thread, as in one worker.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from PIL import Image
from torchvision.transforms import v2

from ssl_zoo.data.augment import Augmentation

BATCH = 256
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def batched(jitter_order: str) -> Callable[[int], int]:
    """One call makes both views of a batch with ours."""
    augmentation = Augmentation(
        32,
        order=("crop", "flip", "jitter", "grayscale"),
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        jitter_order=jitter_order,
        mean=MEAN,
        std=STD,
    )
    images = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8)
    index = torch.arange(BATCH)

    def run(epoch: int) -> int:
        return sum(len(view) for view in augmentation(images, index, epoch))

    return run


def one_by_one() -> Callable[[int], int]:
    """One call makes a view each of some PIL images with torchvision."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(32),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    arrays = torch.randint(0, 256, (BATCH, 32, 32, 3), dtype=torch.uint8).numpy()
    images = [Image.fromarray(array) for array in arrays]

    def run(epoch: int) -> int:
        return len(torch.stack([transform(image) for image in images]))

    return run


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    # A training step leaves memory behind that malloc reuses; without any, it returns every batch
    # to the system and pays for its pages anew.
    torch.empty(24 * 2**20, dtype=torch.uint8)
    runs = {"random order": batched("random"), "fixed order": batched("fixed"),
            "torchvision, PIL": one_by_one()}  # fmt: skip
    rows = [(name, n) for n in (1, 2) for name in runs if n == 1 or "PIL" not in name]
    speeds: dict[tuple[str, int], list[float]] = {row: [] for row in rows}
    for repeat in range(repeats + 3):
        for name, threads in rows:
            torch.set_num_threads(threads)
            start = time.perf_counter()
            views = runs[name](repeat)
            if repeat >= 3:  # the first ones warm up
                speeds[name, threads].append(views / (time.perf_counter() - start))
    base = statistics.median(speeds["torchvision, PIL", 1])
    print(
        f"views/s, 32x32, batch {BATCH}, median of n={repeats} (min-max), torch {torch.__version__}"
    )
    for (name, threads), values in speeds.items():
        median = statistics.median(values)
        spread = f"({min(values):,.0f}-{max(values):,.0f})"
        print(f"{name:18}{threads} thread(s){median:10,.0f} {spread:18} ratio {median / base:5.1f}")


if __name__ == "__main__":
    main()
