"""Detection as a protocol: its row, its id, its command, what is refused."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from helpers.boxes import (
    SCENES,
    SIZE,
    make_candidate,
    make_detection,
    resnet,
    write_coco,
    write_xml,
    xml_object,
)
from helpers.programs import composed, run_evaluate
from ssl_zoo.config import instantiate
from ssl_zoo.protocols.detection.protocol import Detection
from ssl_zoo.types import UserError

# ---- training ----


def test_identity_is_what_is_scored_wherever_it_lies(voc: Path, tmp_path: Path) -> None:
    first = make_detection(voc).identity(None)
    assert make_detection(write_coco(tmp_path / "coco")).identity(None) == first
    write_xml(voc, next(iter(SCENES["test"])), xml_object(("red", 5, 5, 20, 20)))
    assert make_detection(voc).identity(None) != first


def test_one_command(voc: Path, tmp_path: Path) -> None:
    knobs = {"root": voc, "image_size": SIZE, "max_size": SIZE, "num_iterations": 1}
    knobs |= {"boxes_per_image": 16, "fpn_channels": 16, "batch_size": 2}
    given = [f"protocol.detection.{key}={value}" for key, value in knobs.items()]
    small = ["dataset.splits.num_train=20", "dataset.splits.num_test=10"]
    result = run_evaluate(
        "ckpt=random", "backbone=resnet18", "protocol=detection", *given, *small, f"out={tmp_path}"
    )
    assert list(result["rows"]) == ["random init"]
    assert json.loads((tmp_path / "detection.json").read_text()) == result
    assert (tmp_path / "figures" / "detection_detections.png").is_file()


@pytest.mark.usefixtures("pictures")
def test_a_row_has_its_scores_and_leaves_the_backbone_alone(voc: Path, tmp_path: Path) -> None:
    backbone = resnet()
    before = copy.deepcopy(backbone.state_dict())
    candidate = make_candidate(backbone, tmp_path / "detection_random")
    state = torch.get_rng_state()
    row = make_detection(voc).score(candidate)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    assert json.loads(json.dumps(row)) == row
    assert row["num_iterations"] == 2
    assert row["test_ap_per_class"].keys() == {"blue", "red"}
    scores = [row[k] for k in ("val_ap", "val_ap50", "test_ap", "test_ap50", "test_ap75")]
    assert all(0 <= score <= 1 for score in scores)
    picture = Image.open(tmp_path / "detection_random_detections.png")
    assert picture.width > 500


# ---- scores ----


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"num_iterations": 0}, r"num_iterations=0: must be at least 1"),
        ({"image_size": 0}, r"image_size=0: must be at least 1"),
        ({"max_size": 32}, r"max_size=32: must be at least image_size=64"),
        ({"decay_at": "[400]"}, r"decay_at=\[400\]: must be a list of fractions"),
        ({"lr": 0}, r"lr=0: must be above 0"),
    ],
)
def test_knobs_that_make_no_sense_are_named(voc: Path, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_detection(voc, **knobs)


def test_a_missing_extra_is_named(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics.detection.mean_ap._PYCOCOTOOLS_AVAILABLE", False)
    monkeypatch.setattr("torchmetrics.detection.mean_ap._FASTER_COCO_EVAL_AVAILABLE", False)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r'pip install "ssl_zoo\[detection\]"'):
        make_detection(voc)


@pytest.mark.parametrize(("name", "total"), [("detection_1x", 90000), ("detection_2x", 180000)])
def test_the_long_schedules_compose(voc: Path, name: str, total: int) -> None:
    cfg = composed("ckpt=random", f"protocol={name}", f"protocol.detection.root={voc}")
    protocol: Detection = instantiate(cfg.protocol.detection)
    assert (protocol.schedule.num_iterations, protocol.schedule.lr) == (total, 0.02)
    assert (protocol.batch_size, protocol.image_size[-1], protocol.max_size) == (16, 800, 1333)
    assert (protocol.boxes_per_image, protocol.fpn_channels) == (512, 256)
