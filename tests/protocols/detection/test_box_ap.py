"""AP of boxes worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssl_zoo.protocols.detection.protocol import box_ap


def truth(boxes: list[list[float]], labels: list[int], crowd: list[int] | None = None) -> Any:
    crowds = torch.tensor(crowd or [0] * len(labels))
    return {"boxes": torch.tensor(boxes), "labels": torch.tensor(labels), "iscrowd": crowds}


def detections(boxes: list[list[float]], labels: list[int], scores: list[float]) -> Any:
    parts = {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels).long()}
    return parts | {"scores": torch.tensor(scores)}


TWO = [[10.0, 10.0, 50.0, 50.0], [60.0, 20.0, 100.0, 60.0]]


def test_perfect_boxes_score_1_shifted_ones_less_and_swapped_classes_0() -> None:
    truths = [truth(TWO, [1, 2])]
    names = ["blue", "red", "green"]
    perfect = box_ap([detections(TWO, [1, 2], [0.9, 0.8])], truths, names)
    assert (perfect["ap"], perfect["ap50"], perfect["ap75"]) == pytest.approx((1, 1, 1))
    assert perfect["ap_per_class"] == {"blue": 1.0, "red": 1.0, "green": None}
    # 8 of 40 pixels to the right: IoU 32 / 48 = 0.667 passes 0.5, 0.55, 0.6 and 0.65 of ten
    shifted = [[x1 + 8, y1, x2 + 8, y2] for x1, y1, x2, y2 in TWO]
    scores = box_ap([detections(shifted, [1, 2], [0.9, 0.8])], truths, names)
    assert (scores["ap"], scores["ap50"], scores["ap75"]) == pytest.approx((0.4, 1, 0))
    swapped = box_ap([detections(TWO, [2, 1], [0.9, 0.8])], truths, names)
    assert (swapped["ap"], swapped["ap50"]) == (0, 0)
    assert box_ap([detections([], [], [])], truths, names)["ap"] == 0


def test_ap_is_the_area_under_the_interpolated_precision() -> None:
    # right, wrong, right by falling score over two truths: precision 1 to recall 0.5, then 2/3;
    # at COCO's 101 recalls that is (51 * 1 + 50 * 2 / 3) / 101
    found = detections([TWO[0], [0.0, 70.0, 9.0, 79.0], TWO[1]], [1, 1, 1], [0.9, 0.8, 0.7])
    scores = box_ap([found], [truth(TWO, [1, 1])], ["blue"])
    assert scores["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_ignored_boxes_are_neither_right_nor_wrong() -> None:
    truths = [truth(TWO, [1, 1], crowd=[0, 1])]
    names = ["blue"]
    both = box_ap([detections(TWO, [1, 1], [0.8, 0.9])], truths, names)
    one = box_ap([detections(TWO[:1], [1], [0.8])], truths, names)
    assert both["ap"] == one["ap"] == pytest.approx(1)
    counted = box_ap([detections(TWO[:1], [1], [0.8])], [truth(TWO, [1, 1])], names)
    assert counted["ap"] < 0.6
