"""The row of a protocol that classifies: the shared classes, its scores and its pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ssl_zoo.console import info
from ssl_zoo.evaluation.classification import TOP, Answers, answers_of, majority
from ssl_zoo.figures import draw_confusion, draw_per_class, save
from ssl_zoo.metric_names import (
    BALANCED_TOP1,
    IMAGES_SCORED,
    MAJORITY_SHARE,
    TEST_TOP1,
    TOP1_BY_CLASS,
    TOP5,
    of_setting,
)
from ssl_zoo.protocols.candidate import Candidate, SplitFeatures

COLUMNS = (TEST_TOP1, BALANCED_TOP1, TOP5)
_MOST_CLASSES = 5_000  # of which a confusion matrix is drawn: it holds their square


def shared_features(candidate: Candidate) -> SplitFeatures:
    """The features of train, and those of val and test whose class train has."""
    train, val, test = candidate.features
    return SplitFeatures(train, val.among(train.label), test.among(train.label))


def score_on_test(predict: Callable[[Tensor], Tensor], candidate: Candidate) -> dict[str, Any]:
    """The scores of a head on test, which is read here only.

    Args:
        predict: Features (N, D) -> class scores (N, C).
        candidate: What is scored.
    """
    features, label = shared_features(candidate).test
    answers = answers_of(predict(features), label)
    top1 = float((answers.predicted == label).float().mean())
    return {TEST_TOP1: top1, **class_scores(answers, candidate)}


def class_scores(answers: Answers, candidate: Candidate, setting: str = "") -> dict[str, Any]:
    """What a row says beside its top-1, and its pictures.

    Args:
        answers: To the test images, of classes that train has.
        candidate: What is scored.
        setting: Appended to all names, if a row has several, such as "1pct".
    """
    data = candidate.data
    by_class = answers.by_class(data.num_classes)
    if not setting and (path := candidate.figure("per_class")) is not None:
        known = [math.nan if top1 is None else top1 for top1 in by_class]
        save(draw_per_class(known, data.class_names), path)
    draw_answers(answers, candidate, setting)
    return {
        **shares(answers, data.num_train_classes, setting),
        of_setting(TOP1_BY_CLASS, setting): by_class,
        **of_the_test(answers.label),
    }


def shares(answers: Answers, num_classes: int, setting: str = "") -> dict[str, float]:
    """Balanced top-1, and top-5 where it is not all that can be answered."""
    scores = {of_setting(BALANCED_TOP1, setting): answers.balanced_top1}
    if num_classes > TOP:
        scores[of_setting(TOP5, setting)] = answers.top5
    return scores


def of_the_test(label: Tensor) -> dict[str, Any]:
    """How many test images are scored, and what the most frequent class alone would score."""
    return {IMAGES_SCORED: len(label), MAJORITY_SHARE: majority(label)[1]}


def draw_answers(answers: Answers, candidate: Candidate, setting: str = "") -> None:
    """The confusion matrix, for every row."""
    if (path := candidate.figure_of_row(of_setting("confusion", setting))) is None:
        return
    names = candidate.data.class_names[: candidate.data.num_train_classes]
    if len(names) > _MOST_CLASSES:
        if candidate.figure("") is not None:  # once
            info(f"no confusion matrix: {len(names):,} classes are more than {_MOST_CLASSES:,}")
        return
    save(draw_confusion(answers.confusion(len(names)).cpu(), names), path)


def majority_line(label: Tensor, class_names: list[str]) -> str | None:
    """What it scores to answer the most frequent class always; None if classes are equally many.

    A single class is said: any head that prefers it scores high.

    Args:
        label: Of the test images that are scored.
        class_names: Names by label.
    """
    count = label.bincount()
    count = count[count > 0]
    if len(count) == 0 or (len(count) > 1 and int(count.min()) == int(count.max())):
        return None
    most, share = majority(label)
    return (
        f"{int(count.max()):,} of test's {len(label):,} images are {class_names[most]}: always "
        f"answering that scores {100 * share:.1f} top-1 and {100 / len(count):.1f} balanced top-1"
    )
