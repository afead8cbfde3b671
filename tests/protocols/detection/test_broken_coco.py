"""COCO files as users bring them: each is read right, with what was guessed said, or one line."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.boxes import SCENES, SIZE, all_boxes, coco_json, draw, write_coco
from ssl_zoo.protocols.detection.splits import read_detection
from ssl_zoo.types import UserError

Content = dict[str, Any]
Change = Callable[[Content], object]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def train_file(root: Path) -> Path:
    return root / "annotations/instances_train2017.json"


def rewrite(root: Path, change: Change) -> None:
    content = coco_json(SCENES["train"])
    change(content)
    train_file(root).write_text(json.dumps(content))


def each(content: Content, part: str, key: str, value: Callable[[Any], Any]) -> None:
    for entry in content[part]:
        entry[key] = value(entry.get(key))


def set_in(part: str, index: int, **values: Any) -> Change:
    return lambda content: content[part][index].update(values)


def drop(part: str, index: int, key: str) -> Change:
    return lambda content: content[part][index].pop(key)


def add(part: str, copied: int, **values: Any) -> Change:
    return lambda content: content[part].append(content[part][copied] | values)


# ---- read right ----


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: each(c, "annotations", "image_id", str), None),
        (lambda c: each(c, "images", "id", lambda key: f" {key} "), None),
        (lambda c: each(c, "categories", "id", float), None),
        (lambda c: each(c, "annotations", "bbox", lambda box: list(map(str, box))), None),
        (lambda c: each(c, "annotations", "iscrowd", lambda _: "0"), None),
        (lambda c: each(c, "annotations", "iscrowd", lambda _: False), None),
        (lambda c: each(c, "annotations", "iscrowd", lambda _: "0.0"), None),
        (drop("annotations", 0, "iscrowd"), None),
        (set_in("annotations", 0, iscrowd=None), None),
        (set_in("annotations", 0, iscrowd="Unspecified"), r"1 objects have iscrowd=Unspecified"),
        (drop("images", 0, "width"), None),
        (set_in("images", 0, width=0, height="64"), None),
        (lambda c: each(c, "categories", "name", lambda name: f" {name}\n"), None),
        (add("categories", 0), None),
        (add("images", 1), r"1 images are listed twice and read once.*images\[3\]"),
        (add("annotations", 1), r"1 boxes given twice .*image a\.png, object 3 \(blue\)"),
        (lambda c: each(c, "images", "file_name", lambda n: f"C:\\new\\{n}"), r"3 file names .*C:"),
        (lambda c: each(c, "images", "file_name", lambda n: f"./{n}"), None),
        (lambda c: each(c, "images", "file_name", lambda n: f"http://x.org/{n}"), r"3 file names"),
        (lambda c: each(c, "images", "file_name", str.upper), r"3 file names .*A\.PNG, read from"),
        (
            lambda c: each(c, "images", "file_name", lambda n: f"old/%{ord(n[0]):02x}{n[1:]}"),
            r"3 file names .*old/%61\.png, read from .*a\.png",
        ),
    ],
)
def test_another_way_to_write_the_same_file_reads_the_same(
    coco: Path, caplog: pytest.LogCaptureFixture, change: Change, says: str | None
) -> None:
    expected = all_boxes(read_detection(coco).train)
    rewrite(coco, change)
    with caplog.at_level("WARNING", "ssl_zoo"):
        train = read_detection(coco).train
    assert all_boxes(train) == expected
    assert not any(bool(image.ignored.any()) for image in train)
    assert len(caplog.messages) == (says is not None)  # what is guessed is said, and nothing else
    if says is not None:
        assert re.search(says, caplog.messages[0])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_byte_order_mark_is_no_fault(coco: Path, encoding: str) -> None:
    expected = all_boxes(read_detection(coco).train)
    text = train_file(coco).read_text()
    train_file(coco).write_bytes(text.encode(encoding))
    assert all_boxes(read_detection(coco).train) == expected


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("my dog.png", "my dog.png"),
        ("my%20dog.png", "my dog.png"),
        ("a.jpg", "a.JPG"),
        ("sub\\a.png", "sub/a.png"),
        (unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")),
    ],
)
def test_an_image_is_found_under_another_spelling(coco: Path, written: str, on_disk: str) -> None:
    folder = coco / "images/train2017"
    draw(folder / on_disk, [("red", 1, 1, 9, 9)])
    rewrite(coco, set_in("images", 0, file_name=written))
    first = read_detection(coco).train[0]
    assert first.path == folder / on_disk
    assert first.labels.tolist() == [2, 1]


def test_crowds_are_ignored_however_one_is_written(coco: Path) -> None:
    for value in (1, "1", True, "true", 1.0):
        rewrite(coco, set_in("annotations", 0, iscrowd=value))
        assert read_detection(coco).train[0].ignored.tolist() == [True, False]


def test_numbers_are_names_in_every_list(coco: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split, images in SCENES.items():
        content = coco_json(images)
        each(content, "categories", "name", lambda name: {"red": 1, "blue": 0}[name])
        (coco / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
    with caplog.at_level("WARNING", "ssl_zoo"):
        splits = read_detection(coco)
    assert splits.class_names == ["0", "1"]
    assert splits.train[0].labels.tolist() == [2, 1]
    assert "6 category names are numbers" in caplog.messages[0]


def test_one_image_under_two_ids_has_the_boxes_of_both(
    coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(content: Content) -> None:
        content["images"].append(content["images"][0] | {"id": 99})
        content["annotations"][1]["image_id"] = 99

    expected = all_boxes(read_detection(coco).train)
    rewrite(coco, change)
    with caplog.at_level("WARNING", "ssl_zoo"):
        assert all_boxes(read_detection(coco).train) == expected
    assert "1 images are listed under two ids" in caplog.messages[0]


def test_a_folder_of_resource_forks_is_no_second_list(coco: Path) -> None:
    train_file(coco).rename(coco / "annotations/train.json")
    (coco / "images/train2017").rename(coco / "images/train")
    for path in (coco / "annotations").glob("*_train2017.json"):
        path.unlink()
    (coco / "annotations/._train.json").write_bytes(b"\x00\x05\x16\x07")
    assert len(read_detection(coco).train) == 3


def test_boxes_outside_of_their_image_are_clipped_or_left_out_and_said(
    coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(content: Content) -> None:
        content["annotations"][0]["bbox"] = [-4, 6, 34, 26]
        for box in ([70, 3, 5, 5], [3, 3, 0, 5], [30, 30, -20, 10]):
            content["annotations"].append(content["annotations"][0] | {"bbox": box})

    rewrite(coco, change)
    with caplog.at_level("WARNING", "ssl_zoo"):
        train = read_detection(coco).train
    assert train[0].boxes.tolist() == [[0, 6, 30, 32], [34, 30, 60, 60]]
    clipped, left_out = caplog.messages
    assert "1 boxes clipped" in clipped
    assert "3 boxes without area" in left_out


# ---- refused ----


def as_corners(content: Content) -> None:
    each(content, "annotations", "bbox", lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


def in_fractions(content: Content) -> None:
    each(content, "annotations", "bbox", lambda box: [value / SIZE for value in box])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # images
        (set_in("images", 1, id=40), r"the id 40 is given to a\.png .* and to b\.png .*own$"),
        (lambda c: each(c, "images", "id", lambda _: 1), r"the id 1 is given .*first of 2\)"),
        (set_in("images", 1, id="40"), r"the id 40 is given to a\.png .* and to b\.png"),
        (add("images", 0, id=99, width=32), r"a\.png is given to .*\(64, 64\) .*\(64, 32\)"),
        (set_in("images", 1, id=None), r"images\[1\] has the id null: give it a number"),
        (drop("images", 1, "id"), r"images\[1\] has the id null"),
        (lambda c: c["images"].append(7), r"images\[3\] is 7, not an object"),
        (set_in("images", 0, file_name=12), r"image 40 has no file_name: 12 is not a name"),
        (set_in("images", 0, file_name="x\0.png"), r"its image .* is missing"),
        (lambda c: each(c, "images", "file_name", lambda n: "x" + n), r"missing \(the first of 3"),
        (lambda c: each(c, "images", "width", lambda _: 60), r"says \(64, 60\).*first of 3\)"),
        # categories
        (set_in("categories", 1, name="blue"), r"categories 7 and 3 have one name, blue"),
        (set_in("categories", 1, name="blue "), r"categories 7 and 3 have one name, blue"),
        (set_in("categories", 1, id=7), r"categories blue and red have one id, 7"),
        (set_in("categories", 1, name=None), r"categories\[1\] \(id 3\) has the name null"),
        (set_in("categories", 1, name=True), r"categories\[1\] \(id 3\) has the name true"),
        (drop("categories", 1, "name"), r"categories\[1\] \(id 3\) has the name null"),
        (set_in("categories", 1, name=" "), r"categories\[1\] \(id 3\) has the name \" \""),
        # annotations
        (set_in("annotations", 2, image_id=99), r"annotations\[2\] has image_id 99: it needs one"),
        (
            lambda c: each(c, "annotations", "image_id", lambda _: 9),
            r"\[0\] has image_id 9.*first of 4",
        ),
        (drop("annotations", 2, "image_id"), r"annotations\[2\] has no image_id"),
        (set_in("annotations", 2, category_id=99), r"annotations\[2\] has category_id 99"),
        (set_in("annotations", 2, category_id=[3]), r"annotations\[2\] has category_id \[3\]"),
        (lambda c: c["annotations"].append(None), r"annotations\[4\] is null, not an object"),
        (drop("annotations", 2, "bbox"), r"\[2\] needs a bbox of four numbers .* not null"),
        (set_in("annotations", 2, bbox=[]), r"\[2\] needs a bbox of four numbers .* not \[\]"),
        (set_in("annotations", 2, bbox=[1, 2, 3, "x"]), r"\[2\] needs a bbox of four numbers"),
        (set_in("annotations", 2, bbox=[1, 2, float("nan"), 3]), r"\[2\] needs a bbox .*NaN"),
        (set_in("categories", 0, name=float("nan")), r"\(id 7\) has the name NaN: write a text"),
        (set_in("categories", 0, name=float("inf")), r"\(id 7\) has the name Infinity: write"),
        (set_in("images", 1, file_name="x" * 5000), r"image x+: its image .* is missing"),
        (set_in("images", 1, file_name="x\0.png"), r"its image .* is missing"),
        (set_in("annotations", 2, bbox=[1, 2, 3, 4, 0.5]), r"\[2\] needs a bbox of four numbers"),
        (set_in("annotations", 2, iscrowd="some"), r"\[2\]: iscrowd is \"some\": write 0 or 1"),
        (set_in("annotations", 2, iscrowd=2), r"\[2\]: iscrowd is 2: write 0 or 1"),
        (as_corners, r"2 of 4 boxes of train leave their image.*a box is x, y, width, height"),
        (in_fractions, r"annotations\[0\] .* in fractions of the image: write pixels .*first of 4"),
        (set_in("annotations", 2, bbox=[0, 0, 1, 1]), r"annotations\[2\] .* in fractions"),
        (
            lambda c: each(c, "annotations", "bbox", lambda b: [*b[:2], -5, 5]),
            r"4 of 4 boxes of train have no area in their image",
        ),
        (lambda c: c["annotations"].clear(), "no image of train has a box"),
        # the file
        (lambda c: c.pop("annotations"), r"it has no annotations; each must be a list"),
        (lambda c: c.update(categories=None), r"categories is null; each must be a list"),
    ],
)
def test_what_cannot_be_read_right_is_one_line(coco: Path, change: Change, message: str) -> None:
    rewrite(coco, change)
    with pytest.raises(UserError, match=message) as error:
        read_detection(coco)
    assert "\n" not in str(error.value)
    assert "train" in str(error.value)  # the file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [{"id": 4', "it ends too early"),
        (b"", "not COCO's JSON"),
        (b"[]", "it holds a list, as files of detections do"),
        (b"7", "it holds 7"),
        (b'{"images": "\xff"}', "not COCO's JSON .*utf-8"),
        (b"[" * 100_000, "not COCO's JSON"),
    ],
    ids=["truncated", "empty", "list", "number", "no text", "deep"],
)
def test_a_file_that_is_not_coco_is_named(coco: Path, content: bytes, message: str) -> None:
    train_file(coco).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_detection(coco)
    assert str(error.value).startswith(str(train_file(coco)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("end", "cut"), [("}", False), (",]}", False), (",", True), ("", True)])
def test_a_file_is_called_cut_only_if_it_ends_too_early(coco: Path, end: str, cut: bool) -> None:
    train_file(coco).write_text('{"images": [], "annotations": [' + end)
    with pytest.raises(UserError, match="not COCO's JSON") as error:
        read_detection(coco)
    assert ("it ends too early" in str(error.value)) == cut


def test_a_class_name_is_one_in_every_unicode_form(coco: Path) -> None:
    """Train and test by different tools, one of which takes letters and accents apart."""
    for split, form in (("train", "NFD"), ("val", "NFC"), ("test", "NFKD")):
        content = coco_json(SCENES[split])
        each(
            content, "categories", "name", lambda name, f=form: unicodedata.normalize(f, name + "ü")
        )
        (coco / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
    assert read_detection(coco).class_names == ["blueü", "redü"]
    rewrite(
        coco,
        lambda c: (
            set_in("categories", 0, name="é")(c),
            set_in("categories", 1, name="e\u0301")(c),
        ),
    )
    with pytest.raises(UserError, match=r"categories 7 and 3 have one name, é"):
        read_detection(coco)


def test_trainval_is_a_list_of_train(coco: Path) -> None:
    train_file(coco).rename(coco / "annotations/instances_trainval2017.json")
    (coco / "annotations/person_keypoints_train2017.json").unlink()
    (coco / "images/train2017").rename(coco / "images/trainval2017")
    splits = read_detection(coco)
    assert sorted(image.path.stem for image in splits.train + splits.val) == ["a", "b", "c"]
    assert len(splits.val) == 1  # of trainval, as in VOC's layout
