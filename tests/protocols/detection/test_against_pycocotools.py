"""Scores of files as users bring them are pycocotools' of the clean file, at any limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.boxes import SCENES, coco_json, make_detection, make_detector, resnet, write_coco
from ssl_zoo.protocols.detection.batches import eval_batches
from ssl_zoo.protocols.detection.protocol import box_ap
from ssl_zoo.protocols.detection.splits import read_detection
from ssl_zoo.protocols.runner.results import protocol_id
from ssl_zoo.types import UserError

COCO = pytest.importorskip("pycocotools.coco").COCO
COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval
KINDS = {"blue": 7, "red": 3}  # the ids of coco_json


def guesses(boxes: torch.Tensor, count: int, seed: int) -> dict[str, torch.Tensor]:
    """Detections around the true boxes, of both classes."""
    generator = torch.Generator().manual_seed(seed)
    near = boxes[torch.randint(len(boxes), (count,), generator=generator)]
    near = (near + torch.randn(count, 4, generator=generator) * 3).clamp(0, 64)
    left, right = torch.minimum(near[:, :2], near[:, 2:]), torch.maximum(near[:, :2], near[:, 2:])
    return {
        "boxes": torch.cat([left, right], dim=1),
        "labels": torch.randint(1, 3, (count,), generator=generator),
        "scores": torch.rand(count, generator=generator),
    }


def by_pycocotools(file: Path, found: list[dict[str, torch.Tensor]], limit: int) -> list[float]:
    """AP, AP50, AP75 of a file's own annotations, at a limit."""
    truth = COCO(str(file))
    results = [
        {
            "image_id": key,
            "category_id": [KINDS["blue"], KINDS["red"]][label - 1],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for key, one in zip(sorted(truth.getImgIds()), found, strict=True)
        for (x1, y1, x2, y2), label, score in zip(
            one["boxes"].tolist(), one["labels"].tolist(), one["scores"].tolist(), strict=True
        )
    ]
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.params.maxDets = [limit]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]
    return [float(part[part > -1].mean()) for part in (precision, precision[0], precision[5])]


def clean(images: dict[str, Any]) -> dict[str, Any]:
    content = coco_json(images)
    for i, annotation in enumerate(content["annotations"], start=1):
        annotation |= {"id": i, "area": annotation["bbox"][2] * annotation["bbox"][3]}
    content["annotations"][1]["iscrowd"] = 1
    return content


@pytest.mark.parametrize("limit", [3, 100, 150])
def test_a_broken_file_scores_as_its_clean_form_in_pycocotools(tmp_path: Path, limit: int) -> None:
    root = write_coco(tmp_path / "coco")
    content = clean(SCENES["train"])
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(content))
    for annotation in content["annotations"]:
        annotation["iscrowd"] = str(annotation["iscrowd"])  # "0" was a crowd
        annotation["image_id"] = str(annotation["image_id"])
    content["images"].append(dict(content["images"][0]))
    content["annotations"].append(content["annotations"][0])
    for image in content["images"]:
        image["file_name"] = f"C:\\photos\\{image['file_name'].upper()}"
    broken = root / "annotations/instances_train2017.json"
    broken.write_text("\ufeff" + json.dumps(content))

    images = read_detection(root).train
    truths = [target for batch in eval_batches(images, 2) for _, target in batch]
    found = [guesses(image.boxes, 200, i) for i, image in enumerate(images)]
    scores = box_ap(found, truths, ["blue", "red"], limit)
    expected = by_pycocotools(whole, found, limit)
    assert [scores["ap"], scores["ap50"], scores["ap75"]] == pytest.approx(expected, abs=1e-6)
    assert 0.05 < scores["ap"] < 0.95


def test_scores_at_the_default_are_those_of_torchmetrics() -> None:
    from torchmetrics.detection import MeanAveragePrecision

    boxes = torch.tensor([[4.0, 6, 30, 32], [34, 30, 60, 60]])
    truths = [
        {"boxes": boxes, "labels": torch.tensor([1, 2]), "iscrowd": torch.tensor([0, crowd])}
        for crowd in (0, 1, 0)
    ]
    found = [guesses(boxes, 120, seed) for seed in range(3)]
    metric = MeanAveragePrecision(class_metrics=True)
    metric.warn_on_many_detections = False
    metric.update(found, truths)
    expected = metric.compute()
    scores = box_ap(found, truths, ["blue", "red", "green"])
    keys = {"ap": "map", "ap50": "map_50", "ap75": "map_75"}
    assert {key: scores[key] for key in keys} == {k: float(expected[n]) for k, n in keys.items()}
    assert [*scores["ap_per_class"].values()] == [*expected["map_per_class"].tolist(), None]


def test_the_limit_reaches_the_detector_and_the_id(voc: Path) -> None:
    assert make_detector(resnet()).roi_heads.detections_per_img == 100
    protocol = make_detection(voc, detections_per_image=7)
    assert protocol.detections_per_image == 7
    before = {"lr": 0.01, "frozen": None}
    assert protocol_id(before | {"detections_per_image": 100}, []) == protocol_id(before, [])
    assert protocol_id(before | {"detections_per_image": 300}, []) != protocol_id(before, [])
    with pytest.raises(UserError, match="detections_per_image=0: must be at least 1"):
        make_detection(voc, detections_per_image=0)
