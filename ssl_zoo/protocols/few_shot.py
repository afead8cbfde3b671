"""Logistic regression on few labels, over nested draws shared by all rows and methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from ssl_zoo.console import info, warn
from ssl_zoo.cores import each_on_one_core
from ssl_zoo.data import DataModule
from ssl_zoo.evaluation import Answers, answers_of, fit_nested, fraction_of, per_class
from ssl_zoo.evaluation.features import Features
from ssl_zoo.evaluation.linear import statistics
from ssl_zoo.evaluation.logistic import Solution
from ssl_zoo.evaluation.rows import finite_rows
from ssl_zoo.figures import draw_few_shot, save
from ssl_zoo.metric_names import BALANCED_TOP1, TEST_TOP1, TOP1_BY_CLASS, of_setting
from ssl_zoo.protocols.base import Protocol, check_shared_classes, listed
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.classification import (
    COLUMNS,
    draw_answers,
    of_the_test,
    shared_features,
    shares,
)
from ssl_zoo.types import BadValue, UserError

_SMALL = 256  # labels: fits to fewer take longer between products than in them


class FewShot(Protocol):
    """Subsets of train's labels; the L2 strength is chosen inside each, and test is read once.

    Features are standardised by the whole training split, which needs no labels. A draw's smaller
    subsets are inside its larger ones.

    Args:
        fractions: Parts of each class.
        per_class: Images of each class.
        draws: Number of draws, at least 2; they depend on nothing but their number.
        strengths: L2 factors of the mean loss to choose from.
        default_strength: Used if a class has one image, so that none can be held out.
        folds: Stratified folds of the subset, which choose the strength.
        tolerance: Tolerance on the largest absolute entry of the gradient.
        max_iterations: Products with the Hessian, for the fits of one strength together.

    Raises:
        UserError: If a number is out of bounds, or there is no setting.

    Source: Chen et al. 2020 (SimCLR), sec. 6 (1% and 10%); Caron et al. 2021 (DINO), code (n per
    class, several tries).
    """

    def __init__(
        self,
        fractions: Sequence[float],
        per_class: Sequence[int],
        draws: int,
        strengths: Sequence[float],
        default_strength: float,
        folds: int,
        tolerance: float,
        max_iterations: int,
    ) -> None:
        if draws < 2:
            raise BadValue("draws", draws, "at least 2, for their spread")
        if folds < 2:
            raise BadValue("folds", folds, "at least 2")
        self.fractions = listed(fractions, "fractions")
        self.per_class = listed(per_class, "per_class")
        if not fractions and not per_class:
            raise UserError("few_shot: give fractions, per_class or both")
        self.strengths = listed(strengths, "strengths")
        self.draws, self.default_strength = draws, default_strength
        self.folds, self.tolerance, self.max_iterations = folds, tolerance, max_iterations
        self._settings = list(self._subsets(torch.zeros(1, dtype=torch.int64), 0))

    @property
    def headline(self) -> str:
        """The first setting."""
        return self.columns[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """The top-1 of each setting, fractions first; balanced top-1 and top-5 of the first."""
        first = (of_setting(score, self._settings[0]) for score in COLUMNS[1:])
        return (*(of_setting(TEST_TOP1, name) for name in self._settings), *first)

    def check(self, data: DataModule) -> None:
        check_shared_classes(data, settings=1)  # each subset chooses inside itself

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`test_top1_<setting>` and so on, means over draws; each draw's is under the setting."""
        train, test, label = *self._standardised(candidate), candidate.features.train.label
        raised = self._raised(label)
        if raised and candidate.name not in self.floors:
            info(f"few labels: classes that would get no image get one: {raised}")
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in self._settings}

        def fit(draw: int) -> dict[str, dict[str, Any]]:
            return self._fit_draw(train, test, self._subsets(label, draw), candidate)

        with candidate.bar("few labels") as progress:
            for draw, fits in enumerate(each_on_one_core(fit, range(self.draws), label.device)):
                for name in runs:
                    runs[name].append(fits[name])
                progress(draw + 1, self.draws)
        worst = max(run["gradient"] for several in runs.values() for run in several)
        if worst > self.tolerance:
            warn(
                f"{candidate.name}: logistic regression stopped at a gradient of {worst:.1e}, "
                f"above {self.tolerance:g}: raise max_iterations"
            )
        summaries = {name: _summary(of_draws) for name, of_draws in runs.items()}
        if (path := candidate.figure("labels")) is not None:
            _draw(summaries, len(label.unique()), path)
        means = {of_setting(TEST_TOP1, name): summaries[name]["mean"] for name in summaries}
        for name, of_draws in runs.items():
            means |= _class_means([run["answers"] for run in of_draws], candidate, name)
        first = Answers.joined([run["answers"] for run in runs[self._settings[0]]])
        draw_answers(first, candidate, self._settings[0])
        row = {**means, **summaries, **of_the_test(test.label)}
        return {**row, "classes_raised_to_one": raised, "gradient": worst}

    def _standardised(self, candidate: Candidate) -> tuple[Features, Features]:
        """Train and test in float64, standardised by train's statistics."""
        train, _, test = shared_features(candidate)
        x, _ = finite_rows(*train, candidate.data.num_train_classes, "few_shot, train")
        mean, std = statistics(x.double())
        return (
            Features((x.double() - mean) / std, train.label),
            Features((test.representation.double() - mean) / std, test.label),
        )

    def _raised(self, labels: Tensor) -> dict[str, int]:
        """By setting, how many classes have so few images that the fraction rounds to none."""
        count = labels.bincount()
        none = {
            _percent(f): int(((f * count.double()).round() == 0)[count > 0].sum())
            for f in self.fractions
        }
        return {name: number for name, number in none.items() if number}

    def _subsets(self, labels: Tensor, draw: int) -> dict[str, Tensor]:
        """Rows of each setting: `1pct` for a fraction of 0.01, `5_per_class`."""
        named = {_percent(f): fraction_of(labels, f, draw) for f in self.fractions}
        return named | {f"{n}_per_class": per_class(labels, n, draw) for n in self.per_class}

    def _fit_draw(
        self, train: Features, test: Features, subsets: dict[str, Tensor], candidate: Candidate
    ) -> dict[str, dict[str, Any]]:
        """The fits to a draw's subsets, by setting, and their scores."""
        done = {}
        for names in _together(subsets):
            fits = self._fit(train, [subsets[name] for name in names], candidate)
            for name, fit in zip(names, fits, strict=True):
                done[name] = _scored(*fit, len(subsets[name]), test)
        return done

    def _fit(
        self, train: Features, subsets: list[Tensor], candidate: Candidate
    ) -> list[tuple[Solution, float]]:
        """Fits to subsets that are solved together, and their strengths."""
        rows = torch.cat(subsets).unique()
        few = Features(*(tensor[rows.to(train.label.device)] for tensor in train))
        return fit_nested(
            *few,
            [torch.isin(rows, subset).to(few.label.device) for subset in subsets],
            candidate.data.num_train_classes,
            self.strengths,
            self.default_strength,
            self.folds,
            self.tolerance,
            self.max_iterations,
        )


def _together(subsets: dict[str, Tensor]) -> list[list[str]]:
    """The names of subsets that are solved together: the small ones; each other one alone."""
    small = [name for name, rows in subsets.items() if len(rows) <= _SMALL]
    large = [[name] for name in subsets if name not in small]
    return [small, *large] if small else large


def _scored(solution: Solution, strength: float, num_labels: int, test: Features) -> dict[str, Any]:
    logits = test.representation @ solution.weight + solution.bias
    return {
        TEST_TOP1: float((logits.argmax(dim=1) == test.label).double().mean()),
        "answers": answers_of(logits, test.label),
        "strength": strength,
        "num_labels": num_labels,
        "gradient": solution.gradient,
    }


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g}pct"


def _draw(summaries: dict[str, dict[str, Any]], num_classes: int, path: Path) -> None:
    """Each draw's top-1 over the labels per class, for settings named 1% or 5."""
    names = {s: s.replace("pct", "%").removesuffix("_per_class") for s in summaries}
    top1 = {names[s]: summary["test_top1"] for s, summary in summaries.items()}
    labels = {names[s]: summary["num_labels"] / num_classes for s, summary in summaries.items()}
    save(draw_few_shot(top1, labels), path)


def _class_means(several: list[Answers], candidate: Candidate, setting: str) -> dict[str, Any]:
    """The scores beside top-1 of a setting, means over its draws."""
    data = candidate.data
    scores = [shares(answers, data.num_train_classes, setting) for answers in several]
    by_class = zip(*(answers.by_class(data.num_classes) for answers in several), strict=True)
    return {
        **{name: mean(score[name] for score in scores) for name in scores[0]},
        of_setting(TOP1_BY_CLASS, setting): [
            None if top1[0] is None else mean(top1) for top1 in by_class
        ],
    }


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation s over the draws, and each draw's score."""
    top1 = [run[TEST_TOP1] for run in runs]
    return {
        "mean": mean(top1),
        "s": stdev(top1),
        TEST_TOP1: top1,
        BALANCED_TOP1: [run["answers"].balanced_top1 for run in runs],
        "strength": [run["strength"] for run in runs],
        "num_labels": runs[0]["num_labels"],
    }
