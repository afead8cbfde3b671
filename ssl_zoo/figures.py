"""Pictures of a run: views, curves, a map of the representation. Made without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

_MAP_POINTS = 2000  # t-SNE of more takes longer than it shows
_CURVES = {
    "loss": ["train/loss"],
    "top-1 on val": ["val/knn_top1", "val/probe_top1"],
    "collapse/std (1 = healthy)": ["collapse/std"],
    "collapse/effective_rank": ["collapse/effective_rank"],
    "learning rate": ["lr/all", "lr/encoder", "lr/predictor"],
    "images per second": ["speed/images_per_second"],
}


def save_views(
    images: Tensor, views: Sequence[Tensor], mean: Tensor, std: Tensor, path: Path
) -> Path:
    """A grid: each row an image and its views.

    Args:
        images: (N, 3, H, W) uint8, or an empty tensor where workers have cropped already.
        views: V tensors (N, 3, S, S), normalised.
        mean: (3, 1, 1), which undoes the normalisation.
        std: (3, 1, 1).
        path: Of the PNG.
    """
    columns = [[image for image in images]] if len(images) else []
    columns += [[v * std + mean for v in view] for view in views]
    titles = (["image"] if len(images) else []) + [f"view {i + 1}" for i in range(len(views))]
    rows = min(8, len(columns[0]))
    figure, axes = plt.subplots(
        len(columns), rows, figsize=(1.3 * rows, 1.45 * len(columns)), squeeze=False
    )
    for line, column, title in zip(axes, columns, titles, strict=True):
        for axis, picture in zip(line, column[:rows], strict=True):
            pixels = picture.float() / 255 if picture.dtype.is_floating_point is False else picture
            axis.imshow(pixels.clamp(0, 1).permute(1, 2, 0).cpu().numpy())
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(title)
    return _save(figure, path)


def save_curves(curves: dict[str, list[tuple[int, float]]], path: Path) -> Path:
    """The run's curves over optimizer steps, one panel a quantity.

    Args:
        curves: For each metric name its (step, value) pairs.
        path: Of the PNG.
    """
    panels = {title: [name for name in names if name in curves] for title, names in _CURVES.items()}
    panels = {title: names for title, names in panels.items() if names}
    columns = 3
    rows = max(1, -(-len(panels) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 2.6 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, names) in zip(axes.flat, panels.items(), strict=False):
        for name in names:
            steps, values = zip(*curves[name], strict=True)
            axis.plot(steps, values, label=name, marker="." if len(steps) < 30 else None)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend()
    return _save(figure, path)


def save_map(representation: Tensor, label: Tensor, class_names: Sequence[str], path: Path) -> Path:
    """A t-SNE map of representations, coloured by class.

    Args:
        representation: (M, D); at most 2,000 rows, evenly spaced, are shown.
        label: (M,), -1 = unlabelled.
        class_names: By label.
        path: Of the PNG.
    """
    keep = np.linspace(0, len(label) - 1, min(_MAP_POINTS, len(label))).astype(int)
    features = representation.float().cpu().numpy()[keep]
    labels = label.cpu().numpy()[keep]
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    features = PCA(min(50, *features.shape), random_state=0).fit_transform(features)
    perplexity = min(30, (len(features) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
    figure, axis = plt.subplots(figsize=(7, 6))
    colors = matplotlib.colormaps["tab10" if len(class_names) <= 10 else "tab20"]
    for value in np.unique(labels):
        name = class_names[value] if value >= 0 else "unlabelled"
        rows = labels == value
        axis.scatter(
            points[rows, 0], points[rows, 1], s=9, color=colors(int(value) % colors.N), label=name
        )
    if len(class_names) <= 20:
        axis.legend(markerscale=2, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title("t-SNE of the representation (val)")
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return path
