"""Logistic regression on cached features, to convergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssl_zoo.console import warn
from ssl_zoo.data import DataModule
from ssl_zoo.evaluation import fit_logistic
from ssl_zoo.figures import draw_strengths, save
from ssl_zoo.protocols.base import Protocol, check_shared_classes, listed
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.classification import COLUMNS, score_on_test, shared_features


class Logistic(Protocol):
    """The L2 strength is chosen on val; the fit to train and val is scored on test once.

    Args:
        strengths: L2 factors of the mean loss; scikit-learn's C is 1 / (strength * N).
        tolerance: Tolerance on the largest absolute entry of the gradient.
        max_iterations: Products with the Hessian, per fit.

    Source: Kornblith et al. 2019, App. A.4; Chen et al. 2020 (SimCLR), App. B.8.
    """

    headline, columns = COLUMNS[0], COLUMNS

    def __init__(self, strengths: Sequence[float], tolerance: float, max_iterations: int) -> None:
        self.strengths = sorted(listed(strengths, "strengths"), reverse=True)
        self.tolerance, self.max_iterations = tolerance, max_iterations

    def check(self, data: DataModule) -> None:
        check_shared_classes(data, len(self.strengths))

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`val_top1` of the fit to train, `test_top1` of the fit to both, and fit details."""
        train, val, _ = shared_features(candidate)
        with candidate.bar("logistic regression") as progress:
            fit = fit_logistic(
                *train,
                *val,
                candidate.data.num_train_classes,
                self.strengths,
                self.tolerance,
                self.max_iterations,
                progress,
            )
        if not fit.converged:
            warn(
                f"{candidate.name}: logistic regression stopped at a gradient of "
                f"{fit.gradient:.1e}, above {self.tolerance:g}: raise max_iterations"
            )
        if fit.on_edge:
            warn(f"{candidate.name}: the best strength, {fit.strength:g}, is at an end of the path")
        if fit.val_top1 and (path := candidate.figure("strengths")) is not None:
            save(draw_strengths(fit.val_top1, self.strengths, fit.strength), path)
        return {
            "val_top1": max(fit.val_top1, default=None),
            **score_on_test(fit.predict, candidate),
            "strength": fit.strength,
            "strengths": self.strengths,
            "val_top1_by_strength": fit.val_top1,
            "gradient": fit.gradient,
            "converged": fit.converged,
            "on_edge": fit.on_edge,
        }
