"""Maps of a representation: its points in the plane, coloured by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ssl_zoo.figures.canvas import COLORS, GREY, hide_ticks, readable, subplots
from ssl_zoo.types import UserError

MIN_POINTS = 4  # with fewer, t-SNE has no neighbourhoods
_MAX_POINTS = 2000  # t-SNE of more takes longer and shows no more
_LEGEND_CLASSES = 20
_MARKERS = "o^s"  # with 7 colours, 21 classes that differ in one of the two

Points = NDArray[np.float32]


def draw_map(representation: Tensor, label: Tensor, class_names: Sequence[str]) -> Figure:
    """A t-SNE map of representations, coloured by class.

    Args:
        representation: (M, D); at most 2,000 rows, evenly spaced, are shown.
        label: (M,), -1 = unlabelled.
        class_names: Names by label.

    Raises:
        UserError: If the representation is not finite, or has fewer than 4 rows.

    Source: van der Maaten and Hinton 2008.
    """
    points, labels = _reduced(representation, label)
    return _draw({"t-SNE of the representation (val)": _tsne(points)}, labels, class_names)


def draw_maps(representation: Tensor, label: Tensor, class_names: Sequence[str]) -> Figure:
    """PCA, t-SNE and, if umap-learn is installed, UMAP side by side; arguments as in `draw_map`.

    Raises:
        UserError: If the representation is not finite, or has fewer than 4 rows.

    Source: van der Maaten and Hinton 2008 (t-SNE); McInnes et al. 2018 (UMAP).
    """
    points, labels = _reduced(representation, label)
    panels = {"PCA": points[:, :2], "t-SNE": _tsne(points)}
    if (umap := _umap(points)) is not None:
        panels["UMAP"] = umap
    return _draw(panels, labels, class_names)


def _reduced(representation: Tensor, label: Tensor) -> tuple[Points, NDArray[np.int64]]:
    """The rows shown, on the unit sphere, by their first 50 principal components; 2 at least."""
    if len(label) < MIN_POINTS:
        raise UserError(f"a map of {len(label)} images shows nothing: give {MIN_POINTS} or more")
    keep = np.linspace(0, len(label) - 1, min(_MAX_POINTS, len(label))).astype(int)
    x = representation[keep].float().cpu().numpy()
    if not np.isfinite(x).all():
        raise UserError(
            "the representation holds NaN or infinity, which a map cannot show: "
            "check that pretraining went well"
        )
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    if x.shape[1] == 1:  # a line in the plane
        x = np.pad(x, ((0, 0), (0, 1)))
    if _collapsed(x):
        x = np.zeros_like(x[:, :2])
    else:
        from sklearn.decomposition import PCA  # a run draws its map at the end

        x = PCA(min(50, *x.shape), random_state=0).fit_transform(x)
    return x, label[keep].cpu().numpy()


def _collapsed(points: Points) -> bool:
    """Whether all points coincide, so that neither PCA nor t-SNE can make a map."""
    return bool(np.ptp(points, axis=0).max() < 1e-7)


def _tsne(points: Points) -> Points:
    if _collapsed(points):
        return points
    from sklearn.manifold import TSNE

    perplexity = min(30, (len(points) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=0)
    mapped: Points = tsne.fit_transform(points)
    return mapped


def _umap(points: Points) -> Points | None:
    """The UMAP map; None if umap-learn is not installed."""
    try:
        from umap import UMAP
    except ImportError:
        return None
    if _collapsed(points):
        return points
    neighbors = min(15, len(points) - 1)
    # PCA, as t-SNE starts here: the spectral start fails on a handful of points. One job: seeded.
    umap = UMAP(n_neighbors=neighbors, init="pca", random_state=0, n_jobs=1)
    mapped: Points = umap.fit_transform(points)
    return mapped


def _draw(
    panels: dict[str, Points], labels: NDArray[np.int64], class_names: Sequence[str]
) -> Figure:
    figure, axes = subplots(1, len(panels), (6 * len(panels), 5.5))
    for axis, (title, points) in zip(axes[0], panels.items(), strict=True):
        _scatter(axis, points, labels, class_names)
        axis.set_title(title)
        hide_ticks(axis)
    if 0 < len(class_names) <= _LEGEND_CLASSES:
        axes[0, -1].legend(markerscale=2, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _scatter(
    axis: Axes, points: Points, labels: NDArray[np.int64], class_names: Sequence[str]
) -> None:
    for value in np.unique(labels):  # unlabelled points first, below the others
        rows = labels == value
        axis.scatter(
            points[rows, 0],
            points[rows, 1],
            s=9,
            linewidths=0,
            alpha=0.8,
            color=COLORS[value % len(COLORS)] if value >= 0 else GREY,
            marker=_MARKERS[value // len(COLORS) % len(_MARKERS)] if value >= 0 else "o",
            label=readable(class_names[value]) if value >= 0 else "unlabelled",
        )
