"""Figures of a run, a sweep, a representation or an evaluation. Drawn without a display.

Each `draw_X` makes a figure, and `save` writes it. Lazy: the picture of a sweep needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_zoo.figures.canvas import save
    from ssl_zoo.figures.evaluation import (
        draw_confusion,
        draw_few_shot,
        draw_gallery,
        draw_grid,
        draw_per_class,
        draw_strengths,
    )
    from ssl_zoo.figures.maps import draw_map, draw_maps
    from ssl_zoo.figures.run import MOST_ROWS, draw_curves, draw_views
    from ssl_zoo.figures.study import (
        Bar,
        Point,
        Range,
        draw_best_of_k,
        draw_learning,
        draw_scores,
        draw_trials,
    )
    from ssl_zoo.figures.sweep import Swept, draw_sweep

_PARTS = {
    "MOST_ROWS": "run",
    "Bar": "study",
    "Point": "study",
    "Range": "study",
    "draw_best_of_k": "study",
    "draw_learning": "study",
    "draw_scores": "study",
    "draw_trials": "study",
    "Swept": "sweep",
    "draw_confusion": "evaluation",
    "draw_curves": "run",
    "draw_few_shot": "evaluation",
    "draw_gallery": "evaluation",
    "draw_grid": "evaluation",
    "draw_map": "maps",
    "draw_maps": "maps",
    "draw_per_class": "evaluation",
    "draw_strengths": "evaluation",
    "draw_sweep": "sweep",
    "draw_views": "run",
    "save": "canvas",
}
__all__ = [
    "MOST_ROWS",
    "Bar",
    "Point",
    "Range",
    "Swept",
    "draw_best_of_k",
    "draw_confusion",
    "draw_curves",
    "draw_few_shot",
    "draw_gallery",
    "draw_grid",
    "draw_learning",
    "draw_map",
    "draw_maps",
    "draw_per_class",
    "draw_scores",
    "draw_strengths",
    "draw_sweep",
    "draw_trials",
    "draw_views",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PARTS[name]}"), name)
