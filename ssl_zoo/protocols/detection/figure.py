"""A figure of detections beside the ground truth. Drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor

from ssl_zoo.figures.canvas import COLORS, readable, subplots

_SCORE = 0.5  # detections below are not drawn


def draw_detections(
    images: Sequence[Path],
    truths: Sequence[dict[str, Tensor]],
    predictions: Sequence[dict[str, Tensor]],
    class_names: Sequence[str],
) -> Figure:
    """A row per image: the true boxes, and the detections with a score above 0.5.

    Args:
        images: N files.
        truths: boxes (K, 4) in pixels, labels (K,) from 1, iscrowd (K,); ignored ones are dashed.
        predictions: boxes (K, 4), labels (K,), scores (K,).
        class_names: Label i is class_names[i - 1].
    """
    pairs = min(2, len(images))  # two images per row
    rows = -(-len(images) // pairs)
    figure, axes = subplots(rows, 2 * pairs, (6.4 * pairs, 2.6 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (file, truth, found) in enumerate(zip(images, truths, predictions, strict=True)):
        left, right = axes.flat[2 * i], axes.flat[2 * i + 1]
        sure = found["scores"] > _SCORE
        for axis, title in ((left, f"{file.stem}: truth"), (right, "detected")):
            with Image.open(file) as image:
                axis.imshow(ImageOps.exif_transpose(image).convert("RGB"))  # as it is read
            axis.set_title(title, fontsize=8)
        _draw(left, truth["boxes"], truth["labels"], truth["iscrowd"].bool())
        _draw(right, found["boxes"][sure], found["labels"][sure], found["labels"][sure] < 0)
    handles = [
        patches.Patch(color=_color(i), label=readable(name))
        for i, name in enumerate(class_names, start=1)
    ]
    columns = min(8, len(handles))
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns)
    return figure


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


def _color(label: int) -> str:
    return COLORS[(label - 1) % len(COLORS)]
