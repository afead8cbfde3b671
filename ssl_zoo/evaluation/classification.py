"""What a classifier answers, and the scores that tell how good that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

TOP = 5


class Answers(NamedTuple):
    """The answers to N images.

    Attributes:
        label: (N,) int64, the true classes; none is -1.
        predicted: (N,) int64, the class with the highest score; of equal ones the first.
        in_top5: (N,) bool, whether the true class is among the five with the highest scores.
    """

    label: Tensor
    predicted: Tensor
    in_top5: Tensor

    @classmethod
    def joined(cls, several: Sequence[Answers]) -> Answers:
        """The answers to all images of several."""
        return cls(*map(torch.cat, zip(*several, strict=True)))

    @property
    def top1(self) -> float:
        """The share of right answers."""
        return int((self.predicted == self.label).sum()) / len(self.label)

    @property
    def top5(self) -> float:
        """The share of images whose class is among the first five."""
        return int(self.in_top5.sum()) / len(self.label)

    @property
    def balanced_top1(self) -> float:
        """The mean of `by_class` over the classes that have an image."""
        count = self.label.bincount()
        right = self.label[self.predicted == self.label].bincount(minlength=len(count))
        return float((right[count > 0].double() / count[count > 0]).mean())

    def by_class(self, num_classes: int) -> list[float | None]:
        """Top-1 of each class; None for a class that has no image."""
        return top1_by_class(self.predicted, self.label, num_classes)

    def confusion(self, num_classes: int) -> Tensor:
        """(C, C) counts: a row is a true class, a column what was answered."""
        return multiclass_confusion_matrix(self.predicted, self.label, num_classes)


@torch.no_grad()
def answers_of(scores: Tensor, label: Tensor) -> Answers:
    """The answers that class scores give.

    Args:
        scores: (N, C), higher is better; -inf is no answer, nor is NaN where five are asked for.
        label: (N,) int64, in [0, C).
    """
    known = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    own = known.gather(1, label[:, None])
    first = torch.arange(scores.shape[1], device=scores.device) < label[:, None]
    better = (known > own) | ((known == own) & first)
    in_top5 = (better.sum(dim=1) < TOP) & (own[:, 0] > -torch.inf)
    return Answers(label, scores.argmax(dim=1), in_top5)


def top1_by_class(predicted: Tensor, labels: Tensor, num_classes: int) -> list[float | None]:
    """Accuracy of each class; None for a class that has no row.

    Args:
        predicted: (N,) int64.
        labels: (N,) int64, none unlabelled.
        num_classes: Length of the list.
    """
    correct = labels[predicted == labels].bincount(minlength=num_classes).tolist()
    count = labels.bincount(minlength=num_classes).tolist()
    return [right / n if n else None for right, n in zip(correct, count, strict=True)]


def majority(labels: Tensor) -> tuple[int, float]:
    """The most frequent class, of equal ones the first, and its share of the rows.

    Args:
        labels: (N,) int64, none unlabelled; N is at least 1.
    """
    count = labels.bincount()
    return int(count.argmax()), int(count.max()) / len(labels)
