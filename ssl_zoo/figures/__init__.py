"""Figures of a run, a representation or an evaluation. Drawn without a display.

Each `draw_X` makes a figure, and `save` writes it.
"""

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

__all__ = [
    "MOST_ROWS",
    "draw_confusion",
    "draw_curves",
    "draw_few_shot",
    "draw_gallery",
    "draw_grid",
    "draw_map",
    "draw_maps",
    "draw_per_class",
    "draw_strengths",
    "draw_views",
    "save",
]
