"""The pictures of a report, into figures/."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ssl_zoo.console import as_number
from ssl_zoo.figures import (
    Bar,
    Point,
    Range,
    draw_best_of_k,
    draw_learning,
    draw_scores,
    draw_trials,
    save,
)
from ssl_zoo.metric_names import metric_named
from ssl_zoo.study.dimensions import dimension_of
from ssl_zoo.study.folder import FINAL
from ssl_zoo.study.reading import Run, Study
from ssl_zoo.study.report.document import Picture
from ssl_zoo.study.results import Suite


class Pictures:
    """Draws into a folder.

    Args:
        study: What is drawn.
        folder: figures/ of it.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder
        self.metric = metric_named(study.metric)
        self.factor = 100 if self.metric.is_share else 1
        self.label = f"{study.metric} (%)" if self.metric.is_share else study.metric

    def of_suite(self, suite: Suite, number: int) -> Picture | None:
        """The methods' scores on test, and their differences to the best."""
        found = suite.comparison
        if found is None:
            return None
        factor = 100 if suite.is_share else 1
        bars = []
        for name, spread in found.spreads.items():
            gap = None
            if name != found.best:
                one = found.between(found.best, name)
                sign = 1 if one.first == found.best else -1
                ends = sorted(sign * factor * end for end in one.interval) if one.interval else None
                if one.n:
                    gap = (sign * factor * one.mean, (ends[0], ends[1]) if ends else None)
            scores = [factor * value for value in suite.scores[name].values()]
            ends_of = spread.interval
            own = (factor * ends_of[0], factor * ends_of[1]) if ends_of else None
            bars.append(Bar(name, scores, factor * spread.mean, own, gap))
        levels = {name: factor * floor.mean for name, floor in suite.floors.items()}
        if suite.ceiling:
            levels["supervised"] = factor * suite.ceiling.mean
        unit = " (%)" if suite.is_share else ""
        figure = draw_scores(bars, levels, f"{suite.name}: {suite.metric}{unit}")
        name = f"scores_{number}.png"
        save(figure, self.folder / name)
        return Picture(
            name,
            f"{suite.name}. Left: dots are seeds, bars the mean and its 95% interval, lines the "
            "floors and the ceiling. Right: how far each method is behind the best mean, paired by "
            "seed; an interval that includes 0 is undecided. Long intervals are cut.",
        )

    def of_search(self, curves: dict[str, list[float]]) -> Picture | None:
        """The expected best of k trials."""
        if not curves:
            return None
        shown = {name: [self.factor * v for v in values] for name, values in curves.items()}
        save(draw_best_of_k(shown, self.label), self.folder / "best_of_k.png")
        return Picture(
            "best_of_k.png",
            "The best score on val that k trials can be expected to find. Curves that still rise "
            "at their right end have been searched too little; where they cross, the order of "
            "the methods depends on the budget.",
        )

    def of_trials(self) -> Picture | None:
        """Each searched knob against the score."""
        points: list[Point] = []
        ranges: dict[str, Range] = {}
        for method in self.study.methods:
            selected = (self.study.selection.get("methods") or {}).get(method) or {}
            for knob, written in self.study.dimensions(method).items():
                low, high, log, _ = dimension_of(written)
                if low is not None and high is not None and low < high:
                    ranges[knob] = Range(low, high, log and low > 0)
            for trial in self.study.trial_numbers(method):
                runs = self.study.of_trial(method, trial)
                score = self.study.trial_score(method, trial)
                shown = None if score is None else self.factor * score
                if any(run.is_done for run in runs):
                    is_it = selected.get("trial") == trial
                    points.append(Point(method, _numbers(runs), shown, is_it))
        if not ranges or not points:
            return None
        save(draw_trials(points, ranges, self.label), self.folder / "trials.png")
        return Picture(
            "trials.png",
            "Each trial's values against its score on val; a ring marks the selected one. A best "
            "score at the edge of a panel says that the range should be wider.",
        )

    def of_training(self) -> Picture | None:
        """The learning curves of the final runs."""
        curves: dict[str, list[list[tuple[float, float]]]] = {}
        for run in self.study.finals:
            if run.row.stage == FINAL and len(run.curve) > 1 and run.images and run.row.fold == 0:
                per_step = run.images / (run.last_step + 1)
                points = [(per_step * (step + 1), self.factor * v) for step, v in run.curve]
                curves.setdefault(run.row.method, []).append(points)
        if not curves:
            return None
        figure = draw_learning(curves, "images seen", self.label)
        save(figure, self.folder / "learning.png")
        return Picture(
            "learning.png",
            "The final runs' scores on val while they were trained: thin lines are seeds. Only the "
            "last value counts; a curve that still rises would gain from longer training.",
        )


def _numbers(runs: Sequence[Run]) -> dict[str, float]:
    """What a trial set, of the knobs that are numbers."""
    try:
        given = json.loads(runs[0].row.values)
    except ValueError:
        return {}
    found = {str(knob): as_number(str(value)) for knob, value in given.items()}
    return {knob: value for knob, value in found.items() if value is not None}
