"""Pictures: of a run, of a representation, of an evaluation. Made without a display."""

from ssl_zoo.figures.evaluation import (
    save_few_shot,
    save_gallery,
    save_grid,
    save_per_class,
    save_strengths,
)
from ssl_zoo.figures.maps import save_map, save_maps
from ssl_zoo.figures.run import save_curves, save_views

__all__ = [
    "save_curves",
    "save_few_shot",
    "save_gallery",
    "save_grid",
    "save_map",
    "save_maps",
    "save_per_class",
    "save_strengths",
    "save_views",
]
