"""Coarse pictures: drawing three fine ones took half of a tiny run's time."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

_SAVE, _LAYOUT = Figure.savefig, Figure.tight_layout


def _coarse(figure: Figure, path: Any, **options: Any) -> None:
    _SAVE(figure, path, dpi=40)


def draw_coarsely(patch: pytest.MonkeyPatch) -> None:
    """Matplotlib draws every picture once, at a third of its resolution, margins as they come."""
    patch.setattr(Figure, "savefig", _coarse)
    patch.setattr(Figure, "tight_layout", lambda figure: None)


def draw_as_asked(patch: pytest.MonkeyPatch) -> None:
    """As without tests: for those that look at a picture."""
    patch.setattr(Figure, "savefig", _SAVE)
    patch.setattr(Figure, "tight_layout", _LAYOUT)
