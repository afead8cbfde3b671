"""Annotations in both layouts, read and refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.boxes import SCENES, SIZE, all_boxes, coco_json, write_coco, write_xml, xml_object
from ssl_zoo.protocols.detection.batches import train_batches
from ssl_zoo.protocols.detection.splits import read_detection
from ssl_zoo.types import UserError

BCCD = Path(os.environ.get("SSL_ZOO_DATA", "/nowhere")) / "bccd"

# ---- annotations ----


def test_voc_and_coco_read_the_boxes_that_were_written(voc: Path, tmp_path: Path) -> None:
    for root in (voc, write_coco(tmp_path / "coco")):
        splits = read_detection(root)
        assert splits.class_names == ["blue", "red"]
        for split, images in SCENES.items():
            expected = {
                name: (
                    [[float(v) for v in box[1:]] for box in boxes],
                    [{"blue": 1, "red": 2}[box[0]] for box in boxes],
                )
                for name, boxes in images.items()
            }
            assert all_boxes(getattr(splits, split)) == expected
            assert all(image.path.is_file() for image in getattr(splits, split))


def test_the_whole_image_in_voc_is_from_1_to_its_width(voc: Path) -> None:
    write_xml(voc, "b", xml_object(("blue", 0, 0, SIZE, SIZE)))
    assert (
        f"<xmin>1</xmin><ymin>1</ymin><xmax>{SIZE}</xmax>"
        in (voc / "Annotations/b.xml").read_text()
    )
    assert read_detection(voc).train[1].boxes.tolist() == [[0.0, 0.0, SIZE, SIZE]]


def test_difficult_and_crowd_boxes_are_kept_apart(voc: Path, tmp_path: Path) -> None:
    write_xml(
        voc, "a", xml_object(SCENES["train"]["a"][0], 1), xml_object(("blue", 34, 30, 60, 60))
    )
    write_xml(voc, "b", xml_object(("blue", 0, 0, 24, 24), difficult=1))
    coco = write_coco(tmp_path / "coco")
    content = coco_json(SCENES["train"])
    content["annotations"][0]["iscrowd"] = content["annotations"][2]["iscrowd"] = 1
    (coco / "annotations/instances_train2017.json").write_text(json.dumps(content))
    for root in (voc, coco):
        train = read_detection(root).train
        assert [image.path.stem for image in train] == ["a", "c"]  # b has nothing to train on
        assert train[0].ignored.tolist() == [True, False]
        seen = [t for batch in train_batches(train, 2, 4, seed=0) for _, t in batch]
        assert sum(len(target["boxes"]) for target in seen) == 8  # one box an image
        assert not any(bool(target["iscrowd"].any()) for target in seen)


def test_bad_boxes_are_clipped_or_left_out_and_counted(
    voc: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = ("red", -5, 10, 20, 90)
    click = "<object><name>red</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax>"
    click += "<ymax>9</ymax></bndbox></object>"
    beyond = ("red", 70, 10, 80, 20)
    write_xml(voc, "c", xml_object(outside), click, xml_object(beyond))
    with caplog.at_level("WARNING", "ssl_zoo"):
        train = read_detection(voc).train
    assert train[2].boxes.tolist() == [[0.0, 10.0, 20.0, SIZE]]
    clipped, dropped = caplog.messages
    assert "1 boxes clipped" in clipped
    assert "c.xml, object 1 (red)" in clipped
    assert "2 boxes without area left out" in dropped
    assert "c.xml, object 2 (red)" in dropped


def test_val_is_carved_out_of_train_where_no_list_is_left(voc: Path) -> None:
    (voc / "ImageSets/Main/val.txt").unlink()
    splits = read_detection(voc, val_fraction=0.3)
    names = [[image.path.stem for image in part] for part in splits[:3]]
    assert sorted(names[0] + names[1]) == ["a", "b", "c"]
    assert (len(names[1]), names[2]) == (1, ["e", "f"])
    assert splits.class_names == ["blue", "red"]  # of train before the carving
    again = [read_detection(voc, val_fraction=0.3, split_seed=s).val[0].path for s in range(8)]
    assert again[0] == splits.val[0].path
    assert len(set(again)) > 1


def test_val_serves_as_test_where_test_has_no_boxes(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco")
    test = coco / "annotations/instances_test2017.json"
    test.rename(coco / "annotations/image_info_test2017.json")
    (coco / "annotations/person_keypoints_test2017.json").unlink()
    splits = read_detection(coco)
    assert [image.path.stem for image in splits.test] == ["d"]
    assert len(splits.val) == 1
    assert "d" not in {image.path.stem for image in [*splits.train, *splits.val]}


def spoil_size(root: Path) -> None:
    write_xml(root, "c", xml_object(("red", 1, 1, 9, 9)), side=65)


def spoil_class(root: Path) -> None:
    write_xml(root, "e", xml_object(("green", 1, 1, 9, 9)))


def spoil_number(root: Path) -> None:
    write_xml(root, "c", xml_object(("red", 1, 1, 9, 9)).replace(">9<", ">nine<"))


def spoil_truth(root: Path) -> None:
    for name in ("e", "f"):
        write_xml(root, name)


def spoil_overlap(root: Path) -> None:
    (root / "ImageSets/Main/test.txt").write_text("a\ne\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "JPEGImages/c.png").unlink(), r"c\.xml: its image .*c\.jpg is miss"),
        (lambda root: (root / "Annotations/c.xml").unlink(), r"c\.xml is missing: .*train\.txt"),
        (lambda root: (root / "Annotations/c.xml").write_text("<a>"), r"c\.xml does not parse"),
        (lambda root: (root / "ImageSets/Main/train.txt").unlink(), "has lists for val, test"),
        (lambda root: (root / "JPEGImages/c.png").write_text("x"), r"c\.png does not open"),
        (spoil_size, r"c\.xml says \(65, 65\).* has \(64, 64\)"),
        (spoil_class, r"e\.xml, object 1 \(green\): no image of train has this class, only blue"),
        (spoil_number, r"c\.xml, object 1 \(red\): bndbox/xmax is nine"),
        (spoil_truth, "no image of test has a box"),
        (spoil_overlap, r"a\.png is in train and in test"),
        (lambda root: (root / "annotations").mkdir(), None),
    ],
)
def test_bad_voc_trees_are_told_in_one_line(
    voc: Path, spoil: Callable[[Path], object], message: str | None
) -> None:
    spoil(voc)
    if message is None:  # an empty folder of COCO's name is no COCO
        assert read_detection(voc).class_names == ["blue", "red"]
        return
    with pytest.raises(UserError, match=message) as error:
        read_detection(voc)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [{"image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2]}]}, r"\[0\]"),
        ({"annotations": [{"image_id": 40, "category_id": 3, "bbox": [1, 1]}]}, r"\[0\] needs"),
        ({"images": 3}, "is not COCO's JSON"),
        ({"images": [{"id": 40}], "annotations": []}, "image 40 has no file_name"),
    ],
)
def test_bad_coco_files_are_told_in_one_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    coco = write_coco(tmp_path / "coco")
    file = coco / "annotations/instances_train2017.json"
    file.write_text(json.dumps(coco_json(SCENES["train"]) | change))
    with pytest.raises(UserError, match=message) as error:
        read_detection(coco)
    assert str(file) in str(error.value)


def test_the_layout_is_told_apart(voc: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds neither"):
        read_detection(tmp_path)
    with pytest.raises(UserError, match="nowhere: must be a folder"):
        read_detection(tmp_path / "nowhere")
    write_coco(voc)  # both layouts in one folder
    with pytest.raises(UserError, match=r"holds both .*set format"):
        read_detection(voc)
    assert read_detection(voc, "coco").train[0].path.parent.name == "train2017"
    assert read_detection(voc, "voc").train[0].path.parent.name == "JPEGImages"


# ---- scores ----


@pytest.mark.skipif(not BCCD.is_dir(), reason="SSL_ZOO_DATA names no folder with bccd")
def test_bccd_reads_as_it_lies() -> None:
    splits = read_detection(BCCD)
    assert [len(part) for part in splits[:3]] == [205, 87, 72]
    assert splits.class_names == ["Platelets", "RBC", "WBC"]
    boxes = sum(len(image.boxes) for part in splits[:3] for image in part)
    assert boxes == 4888 - 2  # two clicks without area
