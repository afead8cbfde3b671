"""A picture of detections beside the truth. Made without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import patches
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from PIL import Image
from torch import Tensor

_SCORE = 0.5  # detections below are not drawn


def save_detections(
    images: Sequence[Path],
    truths: Sequence[dict[str, Tensor]],
    predictions: Sequence[dict[str, Tensor]],
    class_names: Sequence[str],
    path: Path,
) -> Path:
    """A row an image: the true boxes, and the detections with a score above 0.5.

    Args:
        images: N files.
        truths: boxes (K, 4) in pixels, labels (K,) from 1, iscrowd (K,); ignored ones are dashed.
        predictions: boxes (K, 4), labels (K,), scores (K,).
        class_names: Label i is class_names[i - 1].
        path: Of the PNG.
    """
    pairs = min(2, len(images))  # two images a row
    rows = -(-len(images) // pairs)
    figure, axes = plt.subplots(
        rows, 2 * pairs, figsize=(6.4 * pairs, 2.6 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (file, truth, found) in enumerate(zip(images, truths, predictions, strict=True)):
        left, right = axes.flat[2 * i], axes.flat[2 * i + 1]
        sure = found["scores"] > _SCORE
        for axis, title in ((left, f"{file.stem}: truth"), (right, "detected")):
            with Image.open(file) as image:
                axis.imshow(image.convert("RGB"))
            axis.set_title(title, fontsize=8)
        _draw(left, truth["boxes"], truth["labels"], truth["iscrowd"].bool())
        _draw(right, found["boxes"][sure], found["labels"][sure], found["labels"][sure] < 0)
    handles = [
        patches.Patch(color=_color(i), label=name) for i, name in enumerate(class_names, start=1)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _draw(axis: Axes, boxes: Tensor, labels: Tensor, dashed: Tensor) -> None:
    rows = zip(boxes.tolist(), labels.tolist(), dashed.tolist(), strict=True)
    for (x1, y1, x2, y2), label, dash in rows:
        axis.add_patch(
            patches.Rectangle(
                (x1, y1),
                x2 - x1,
                y2 - y1,
                fill=False,
                edgecolor=_color(label),
                linestyle="--" if dash else "-",
                linewidth=1.2,
            )
        )


def _color(label: int) -> tuple[float, float, float, float]:
    colors = matplotlib.colormaps["tab10"]
    color: tuple[float, float, float, float] = colors((label - 1) % colors.N)
    return color
