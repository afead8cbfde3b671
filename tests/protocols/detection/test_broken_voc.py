"""VOC trees as users bring them: each is read right, with what was guessed said, or one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from helpers.boxes import SCENES, SIZE, all_boxes, write_xml, xml_object
from ssl_zoo.protocols.detection.splits import read_detection
from ssl_zoo.types import UserError

Spoil = Callable[[Path], object]


def train_list(root: Path) -> Path:
    return root / "ImageSets/Main/train.txt"


def replaced(name: str, old: str, new: str) -> Spoil:
    """In one annotation."""

    def spoil(root: Path) -> None:
        file = root / f"Annotations/{name}.xml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return spoil


def difficult(value: str) -> Spoil:
    """In all annotations of train."""

    def spoil(root: Path) -> None:
        for name in SCENES["train"]:
            old, new = "<difficult>0</difficult>", f"<difficult>{value}</difficult>"
            replaced(name, old, new)(root)

    return spoil


def listed(content: str, encoding: str = "utf-8") -> Spoil:
    return lambda root: train_list(root).write_bytes(content.encode(encoding))


def encoded(encoding: str, declared: str) -> Spoil:
    def spoil(root: Path) -> None:
        file = root / "Annotations/a.xml"
        text = f'<?xml version="1.0" encoding="{declared}"?>\n{file.read_text()}'
        file.write_bytes(text.encode(encoding))

    return spoil


# ---- read right ----


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (difficult("False"), None),
        (difficult("0.0"), None),
        (difficult(" 0\n"), None),
        (difficult(""), None),
        (difficult("Unspecified"), r"4 objects have difficult=Unspecified, .* read as 0.*a\.xml"),
        (difficult("None"), r"4 objects have difficult=None"),
        (replaced("a", "<difficult>0</difficult>", ""), None),
        (listed("a.jpg\nb.JPG\nc.xml\n"), r"3 lines of lists .*train\.txt: a\.jpg, read as a$"),
        (listed("JPEGImages/a.png\nb\nc"), r"1 lines of lists .*JPEGImages/a\.png, read as a$"),
        (listed("C:\\voc\\JPEGImages\\a.png\nb\nc"), r"1 lines of lists .*read as a$"),
        (lambda root: listed(f"{root}/Annotations/a.xml\nb\nc")(root), r"1 lines .*read as a$"),
        (listed("../Annotations/a.xml\nb\nc"), r"1 lines .*read as a$"),
        (listed("a  1\nb -1\nc  0\n"), r"3 lines of lists"),
        (listed("a  1\nb\t-1\nc +1\n"), r"3 lines of lists"),
        (listed("A\nb\nc"), r"1 lines of lists .*: A, read as a$"),
        (listed("a\nb\nc\na\n\nb.png\n"), r"2 lines of lists repeat an image, which is read once"),
        (listed("\ufeffa\r\nb\r\nc\r\n"), None),
        (listed("a\nb\nc\n", "utf-16"), None),
        (encoded("utf-16", "utf-16"), None),
        (encoded("utf-16", "utf-8"), None),
        (encoded("utf-8-sig", "utf-8"), None),
        (encoded("gb2312", "gb2312"), None),
        (replaced("a", "<annotation>", "\n\n<?xml version='1.0'?><annotation>"), None),
        (replaced("a", f"<height>{SIZE}</height>", "<height>0</height>"), None),
        (replaced("a", f"<width>{SIZE}</width>", ""), None),
        (replaced("a", "<xmin>5</xmin>", "<xmin> 5.0 </xmin>"), None),
        (
            lambda root: (root / "Annotations/a.xml").rename(root / "Annotations/a.XML"),
            None,
        ),
        (lambda root: write_xml(root, "b", *[xml_object(("blue", 0, 0, 24, 24))] * 3), r"2 boxes "),
    ],
)
def test_another_way_to_write_the_same_tree_reads_the_same(
    voc: Path, caplog: pytest.LogCaptureFixture, spoil: Spoil, says: str | None
) -> None:
    expected = all_boxes(read_detection(voc).train)
    spoil(voc)
    with caplog.at_level("WARNING", "ssl_zoo"):
        train = read_detection(voc).train
    assert all_boxes(train) == expected
    assert not any(bool(image.ignored.any()) for image in train)
    assert len(caplog.messages) == (says is not None)  # what is guessed is said, and nothing else
    assert re.search(says or "", (caplog.messages or [""])[0])


@pytest.mark.parametrize("value", ["1", "1.0", "True", " yes "])
def test_difficult_is_read_however_one_is_written(voc: Path, value: str) -> None:
    replaced("a", "<difficult>0</difficult>", f"<difficult>{value}</difficult>")(voc)
    assert [image.path.stem for image in read_detection(voc).train] == ["b", "c"]


@pytest.mark.parametrize("ending", [".JPG", ".Jpeg", ".gif", ".ppm"])
def test_an_image_has_any_ending_that_pillow_reads(voc: Path, ending: str) -> None:
    images = voc / "JPEGImages"
    Image.open(images / "a.png").save(images / f"a{ending}")
    (images / "a.png").unlink()
    assert read_detection(voc).train[0].path == images / f"a{ending}"


def test_names_with_spaces_and_dots_are_whole_lines(voc: Path) -> None:
    for old, new in (("a", "my dog 1"), ("b", "scan.001")):
        for folder, ending in (("Annotations", "xml"), ("JPEGImages", "png")):
            (voc / folder / f"{old}.{ending}").rename(voc / folder / f"{new}.{ending}")
    listed("my dog 1\nscan.001.png\nc\n")(voc)
    assert [image.path.name for image in read_detection(voc).train] == [
        *("my dog 1.png", "scan.001.png", "c.png"),
    ]


def test_the_annotation_says_which_of_several_images_is_meant(
    voc: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = voc / "JPEGImages"
    Image.open(images / "a.png").save(images / "a.jpg")
    with caplog.at_level("WARNING", "ssl_zoo"):
        assert read_detection(voc).train[0].path.name == "a.jpg"
    assert "1 names belong to several images, of which one is read" in caplog.messages[0]
    replaced("a", "<annotation>", "<annotation><filename>a.png</filename>")(voc)
    assert read_detection(voc).train[0].path.name == "a.png"
    (images / "a.png").rename(images / "photo.png")
    (images / "a.jpg").unlink()
    replaced("a", ">a.png<", ">D:\\photo.png<")(voc)
    caplog.clear()
    with caplog.at_level("WARNING", "ssl_zoo"):
        assert read_detection(voc).train[0].path.name == "photo.png"
    assert "1 images have another name than their annotation" in caplog.messages[0]


def test_classes_that_differ_in_case_are_said(voc: Path, caplog: pytest.LogCaptureFixture) -> None:
    replaced("b", "<name>blue", "<name>Blue")(voc)
    with caplog.at_level("WARNING", "ssl_zoo"):
        assert read_detection(voc).class_names == ["Blue", "blue", "red"]
    assert re.search("1 class names .* Blue, blue", caplog.messages[0])


# ---- images turned by EXIF ----


def turned(root: Path, orientation: int, stated: tuple[int, int] | None) -> None:
    """Image b, stored 64 wide and 32 high, with a box of 16 x 24 pixels when upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    (root / "JPEGImages/b.png").unlink()
    Image.new("RGB", (64, 32)).save(root / "JPEGImages/b.jpg", exif=exif)
    box = xml_object(("blue", 2, 4, 18, 28))
    write_xml(root, "b", box)
    old = f"<width>{SIZE}</width><height>{SIZE}</height>"
    new = f"<width>{stated[1]}</width><height>{stated[0]}</height>" if stated else ""
    replaced("b", old, new)(root)


@pytest.mark.parametrize(
    ("orientation", "stated", "upright", "said"),
    [
        (6, (64, 32), (64, 32), False),
        (6, None, (64, 32), True),  # nothing says on which image the boxes were drawn
        (3, (32, 64), (32, 64), True),
        (1, None, (32, 64), False),
    ],
)
def test_boxes_of_turned_images(
    voc: Path,
    caplog: pytest.LogCaptureFixture,
    orientation: int,
    stated: tuple[int, int] | None,
    upright: tuple[int, int],
    said: bool,
) -> None:
    turned(voc, orientation, stated)
    with caplog.at_level("WARNING", "ssl_zoo"):
        image = read_detection(voc).train[1]
    assert image.size == upright
    assert image.boxes.tolist() == [[2, 4, 18, 28]]
    assert ["1 images are turned by EXIF" in m for m in caplog.messages] == [True] * said


def test_boxes_drawn_before_the_turn_are_refused(voc: Path) -> None:
    turned(voc, 6, (32, 64))
    with pytest.raises(UserError, match=r"b\.xml says \(32, 64\).*drawn before the turn .*EXIF"):
        read_detection(voc)
    turned_back = voc / "JPEGImages/b.jpg"
    Image.new("RGB", (64, 32)).save(turned_back)
    assert read_detection(voc).train[1].size == (32, 64)


# ---- refused ----


def as_widths(root: Path) -> None:
    """Width and height where VOC has the second corner."""
    for name in SCENES["train"]:
        write_xml(root, name, xml_object(("red", 40, 40, 20, 20)))


def as_fractions(root: Path) -> None:
    corners = "<xmin>0.1</xmin><ymin>0.2</ymin><xmax>0.5</xmax><ymax>1</ymax>"
    for name in SCENES["train"]:
        write_xml(root, name, f"<object><name>red</name><bndbox>{corners}</bndbox></object>")


def one_image(root: Path) -> None:
    """Two annotations of one image."""
    (root / "JPEGImages/a.png").unlink()
    replaced("a", "<annotation>", "<annotation><filename>c.png</filename>")(root)


def in_list_of_objects(root: Path) -> None:
    replaced("a", "</size>", "</size><objects>")(root)
    replaced("a", "</annotation>", "</objects></annotation>")(root)


def two_boxes(root: Path) -> None:
    """In one object."""
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    file = root / "Annotations/a.xml"
    file.write_text(file.read_text().replace("</object>", f"<bndbox>{box}</bndbox></object>", 1))


def no_images(root: Path) -> None:
    for name in SCENES["train"]:
        (root / f"JPEGImages/{name}.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (difficult("maybe"), r'a\.xml, object 1 \(red\): difficult is "maybe": .*first of 4\)'),
        (difficult("2"), r'difficult is "2": write 0 or 1'),
        (as_widths, r"3 of 3 boxes of train have no area .* a box is xmin ymin xmax ymax"),
        (as_fractions, r"a\.xml, object 1 \(red\).* in fractions of the image.*first of 3\)"),
        (no_images, r"a\.xml: its image .*a\.jpg is missing \(the first of 3\)"),
        (listed("a\nx.jpg\ny\n"), r"x\.xml is missing: .*lists x\.jpg; .*first of 2\)"),
        (
            lambda root: train_list(root).write_bytes(b"\xdcbung\n"),
            r"train\.txt is not text in UTF",
        ),
        (lambda root: (root / "Annotations/a.xml").write_text(""), r"a\.xml does not parse: no el"),
        (encoded("utf-8", "nonsense"), r"a\.xml does not parse"),
        (lambda r: (r / "Annotations/a.xml").write_text("<html/>"), r"a\.xml holds <html>, not"),
        (replaced("a", "<xmin>5</xmin>", ""), r"bndbox/xmin is missing, not a number"),
        (replaced("a", "<xmin>5</xmin>", "<xmin>5,5</xmin>"), r"bndbox/xmin is 5,5, not a number"),
        (replaced("a", "<xmin>5</xmin>", "<xmin>inf</xmin>"), r"bndbox/xmin is inf, not a number"),
        (replaced("a", "<name>red</name>", "<name> </name>"), r"a\.xml, object 1 has no name"),
        (in_list_of_objects, r"a\.xml: 2 of its 2 boxes are not the one <bndbox> of an <object>"),
        (replaced("a", "object>", "Object>"), r"a\.xml: 2 of its 2 boxes .* move them there"),
        (two_boxes, r"a\.xml: 1 of its 3 boxes are not the one <bndbox>"),
        (one_image, r"c\.png is in train and in train: fix the lists"),
        (listed(""), "no image of train has a box|val_fraction"),
    ],
)
def test_what_cannot_be_read_right_is_one_line(voc: Path, spoil: Spoil, message: str) -> None:
    spoil(voc)
    with pytest.raises(UserError, match=message) as error:
        read_detection(voc)
    assert "\n" not in str(error.value)


def test_an_exchanged_size_is_told(voc: Path) -> None:
    Image.new("RGB", (64, 32)).save(voc / "JPEGImages/b.png")
    write_xml(voc, "b", xml_object(("blue", 0, 0, 24, 24)))
    replaced("b", "<width>64</width>", "<width>32</width>")(voc)
    with pytest.raises(UserError, match=r"height and width are exchanged: correct them"):
        read_detection(voc)


def test_boxes_of_parts_are_not_those_of_objects(voc: Path) -> None:
    """VOC's people have a head, hands and feet, whose boxes were never scored."""
    before = all_boxes(read_detection(voc).train)
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    parts = f"<part><name>head</name>{box}</part>" * 2
    replaced("a", "<object>", f"<object>{parts}")(voc)
    assert all_boxes(read_detection(voc).train) == before


def test_an_image_is_found_by_a_filename_without_ending(voc: Path) -> None:
    """As early versions of LabelImg write it."""
    (voc / "JPEGImages/a.png").rename(voc / "JPEGImages/scan 7.png")
    replaced("a", "<annotation>", "<annotation><filename>scan 7</filename>")(voc)
    assert read_detection(voc).train[0].path.name == "scan 7.png"


@pytest.mark.parametrize("place", ["labels/a.txt", "labels/train/a.txt", "train/labels/a.txt"])
def test_yolos_labels_are_told(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(UserError, match=r"YOLO's labels/\*\.txt are not read, convert them"):
        read_detection(tmp_path)
