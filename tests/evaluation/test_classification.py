"""Scores of a classifier, by hand and against scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from ssl_zoo.evaluation import Answers, answers_of, knn_answers, knn_predict, knn_top1, majority


def problem(classes: int = 9, count: int = 300) -> tuple[Tensor, Tensor]:
    """Scores of which about half are right, and labels of unequal frequency; class 4 is absent."""
    generator = torch.Generator().manual_seed(0)
    share = torch.arange(1, classes + 1).float()
    share[4] = 0
    label = share.multinomial(count, replacement=True, generator=generator)
    scores = torch.randn(count, classes, generator=generator)
    return scores + 1.5 * torch.nn.functional.one_hot(label, classes), label


def test_twenty_and_two_and_two() -> None:
    label = torch.tensor([0] * 20 + [1] * 2 + [2] * 2)
    always = torch.tensor([[3.0, 2.0, 1.0]]).expand(24, 3)
    answers = answers_of(always, label)
    assert answers.top1 == pytest.approx(0.8333, abs=1e-4)
    assert answers.balanced_top1 == pytest.approx(1 / 3)
    assert answers.by_class(4) == [1.0, 0.0, 0.0, None]
    assert answers.confusion(3).tolist() == [[20, 0, 0], [2, 0, 0], [2, 0, 0]]
    assert majority(label) == (0, 20 / 24)


def test_against_other_libraries() -> None:
    scores, label = problem()
    answers = answers_of(scores, label)
    truth, predicted = label.numpy(), scores.argmax(1).numpy()
    assert answers.top1 == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert 0.3 < answers.top1 < 0.7
    seen = np.unique(truth)
    assert 4 not in seen
    balanced = metrics.recall_score(truth, predicted, average="macro", labels=seen)
    at_four = truth[predicted != 4], predicted[predicted != 4]  # elsewhere scikit-learn warns
    with_no_four = answers_of(scores[predicted != 4], label[predicted != 4])
    assert with_no_four.balanced_top1 == pytest.approx(metrics.balanced_accuracy_score(*at_four))
    assert answers.balanced_top1 == pytest.approx(balanced)
    assert abs(balanced - answers.top1) > 0.005
    top5 = metrics.top_k_accuracy_score(truth, scores.numpy(), k=5, labels=np.arange(9))
    assert answers.top5 == pytest.approx(top5)
    assert answers.top5 == pytest.approx(
        float(multiclass_accuracy(scores, label, 9, average="micro", top_k=5))
    )
    expected = metrics.confusion_matrix(truth, predicted, labels=np.arange(9))
    np.testing.assert_array_equal(answers.confusion(9), expected)
    recall = metrics.recall_score(truth, predicted, labels=seen, average=None)
    by_class = answers.by_class(9)
    assert by_class[4] is None
    assert [by_class[label] for label in seen] == pytest.approx(recall)


def test_equal_scores_and_what_is_no_score() -> None:
    equal = torch.zeros(7, 7)
    answers = answers_of(equal, torch.arange(7))
    assert answers.predicted.tolist() == [0] * 7
    assert answers.in_top5.tolist() == [True] * 5 + [False] * 2
    none = torch.tensor([[0.0, -torch.inf, -torch.inf], [torch.nan, torch.nan, torch.nan]])
    assert answers_of(none, torch.tensor([1, 1])).in_top5.tolist() == [False, False]
    assert answers_of(none, torch.tensor([0, 1])).in_top5.tolist() == [True, False]


def test_parts_are_joined() -> None:
    scores, label = problem()
    whole = answers_of(scores, label)
    parts = Answers.joined([answers_of(scores[:7], label[:7]), answers_of(scores[7:], label[7:])])
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_answers_of_knn() -> None:
    generator = torch.Generator().manual_seed(0)
    bank, queries = (
        torch.randn(200, 8, generator=generator),
        torch.randn(90, 8, generator=generator),
    )
    bank_labels, labels = torch.arange(200) % 8, torch.arange(90) % 8
    labels[3] = -1
    answers = knn_answers(queries, labels, bank, bank_labels, 8, ks=[1, 200])
    top1 = knn_top1(queries, labels, bank, bank_labels, 8, ks=[1, 200])
    assert {k: one.top1 for k, one in answers.items()} == top1
    known = labels >= 0
    scores = knn_predict(queries[known], bank, bank_labels, 8, k=200)  # all classes have votes
    top5 = metrics.top_k_accuracy_score(labels[known], scores.numpy(), k=5, labels=np.arange(8))
    assert answers[200].top5 == pytest.approx(top5)
    assert answers[1].top5 == answers[1].top1  # one class has a vote
