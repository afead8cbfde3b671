"""The picture of a sweep: a curve, heat maps, a cloud of points, or a row for each setting."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from matplotlib.figure import Figure

from ssl_zoo.console import as_number
from ssl_zoo.figures.canvas import COLORS
from ssl_zoo.figures.sweep.cloud import draw_cloud
from ssl_zoo.figures.sweep.curves import draw_curves
from ssl_zoo.figures.sweep.heat_maps import draw_heat_maps, is_grid
from ssl_zoo.figures.sweep.rows import draw_rows
from ssl_zoo.figures.sweep.swept import Swept, names_of, rank_of

__all__ = ["Swept", "draw_sweep"]
_MOST_CURVES = len(COLORS)
_MOST_PANELS = 4


def draw_sweep(
    settings: Sequence[Swept], label: str, lowest: bool = False, log: Collection[str] = ()
) -> Figure:
    """One swept number is a curve, two are heat maps; anything else is a row for each setting.

    Args:
        settings: At least one.
        label: Of the scores.
        lowest: Whether a lower score is better.
        log: The knobs that were drawn on a log scale.
    """
    numbers = [knob for knob in settings[0].values if _is_number(settings, knob)]
    by_choice = _by_choice(settings, numbers)
    if len(numbers) == 1 and len(by_choice) <= _MOST_CURVES:
        return draw_curves(by_choice, numbers[0], label, numbers[0] in log)
    if len(numbers) == 2 and len(by_choice) <= _MOST_PANELS:
        scored = [s for s in settings if s.mean is not None]
        best = min(scored, key=lambda s: rank_of(s, lowest)) if scored else None
        if all(is_grid(group, numbers) for group in by_choice.values()):
            return draw_heat_maps(by_choice, numbers, label, best)
        if len(by_choice) == 1:
            return draw_cloud(settings, numbers, label, best, log)
    return draw_rows(settings, label, lowest)


def _is_number(settings: Sequence[Swept], knob: str) -> bool:
    values = {as_number(setting.values[knob]) for setting in settings}
    return None not in values and len(values) > 1


def _by_choice(settings: Sequence[Swept], numbers: Collection[str]) -> dict[str, list[Swept]]:
    """The settings by all that is not a swept number, in words."""
    names = names_of(settings, [knob for knob in settings[0].values if knob not in numbers])
    found: dict[str, list[Swept]] = {}
    for name, setting in zip(names, settings, strict=True):
        found.setdefault(name, []).append(setting)
    return found
