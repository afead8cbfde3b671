"""Annotations as Pascal VOC stores them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from ssl_zoo.protocols.detection.files import Files, base_name
from ssl_zoo.protocols.detection.notes import Notes
from ssl_zoo.protocols.detection.records import (
    Object,
    Record,
    class_name,
    flag,
    in_fractions,
    number,
    stated_size,
    text_of,
)
from ssl_zoo.types import UserError

_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")  # of a.jpg, not of scan.001
_FLAG = re.compile(r"\s+(-1|0|\+?1)$")  # VOC's lists of one class say whether an image shows it
_ENCODING = re.compile(rb"<\?xml[^>]*encoding=[\"']([\w.-]+)")


def voc_lists(folder: Path) -> dict[str, Path]:
    """The existing lists of images, by split."""
    paths = {s: folder / f"ImageSets/Main/{s}.txt" for s in ("train", "trainval", "val", "test")}
    return {split: path for split, path in paths.items() if path.is_file()}


def read_voc(path: Path, files: Files, notes: Notes) -> list[Record]:
    """The annotations of a list; those that are refused are noted and left out.

    Raises:
        UserError: The list itself is not text.
    """
    root = path.parents[2]
    try:
        lines = [line.strip() for line in text_of(path.read_bytes()).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not text in UTF-8 or UTF-16, save it as UTF-8: {error}"
        ) from error
    records: dict[Path, Record | None] = {}
    for line in filter(None, lines):
        place = f"{path}: {line}"
        names = [root / "Annotations" / f"{name}.xml" for name in _names(line)]
        file = next(filter(None, map(files.like, names)), None)
        if file is None:
            fix = "write one, without objects if it has none, or take it off the list"
            notes.refuse("no annotation", f"{names[-1]} is missing: {path} lists {line}; {fix}")
            continue
        name = file.relative_to(root / "Annotations").with_suffix("").as_posix()
        if file in records:
            notes.guess("lines of lists repeat an image, which is read once", place)
            continue
        if name != line:
            what = "lines of lists are not the plain names of their annotations"
            notes.guess(what, f"{place}, read as {name}")
        records[file] = _record(root, name, file, files, notes)
    return [record for record in records.values() if record is not None]


def _names(line: str) -> list[str]:
    """What a line of a list may mean, as it stands first."""
    plain = _FLAG.sub("", line).replace("\\", "/")
    below = [name for name in (line, plain) if name[0] != "/" and ".." not in name.split("/")]
    return [
        form
        for name in dict.fromkeys((*below, base_name(plain)))
        for form in (name, _ENDING.sub("", name))
    ]


def _record(root: Path, name: str, file: Path, files: Files, notes: Notes) -> Record | None:
    try:
        tree = _parse(file.read_bytes())
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
        notes.refuse("no XML", f"{file} does not parse: {error}")
        return None
    if tree.tag != "annotation":
        notes.refuse("no VOC", f"{file} holds <{tree.tag}>, not VOC's <annotation>")
        return None
    objects = [
        _object(node, f"{file}, object {i}", notes)
        for i, node in enumerate(tree.findall("object"), 1)
    ]
    _check_places(tree, file, notes)
    image = _image(root / "JPEGImages", name, tree.findtext("filename", ""), files, notes)
    size = stated_size(tree.findtext("size/height"), tree.findtext("size/width"))
    return Record(str(file), image, size, [o for o in objects if o is not None])


def _parse(content: bytes) -> ElementTree.Element:
    """XML, also if it was saved in another encoding than it declares, or one unknown to expat."""
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        declared = _ENCODING.search(content)
        text = content.decode(declared[1].decode()) if declared else text_of(content)
        return ElementTree.fromstring(text.strip().lstrip("\ufeff"))  # a text's encoding is known


def _check_places(tree: ElementTree.Element, file: Path, notes: Notes) -> None:
    """Refuse boxes that are not where VOC has them, which would be lost silently."""
    boxes = sum(node.tag.lower() == "xmin" for node in tree.iter())
    first = [node.find("bndbox/xmin") for node in tree.findall("object")]
    read = sum(node is not None for node in first) + len(tree.findall("object/part/bndbox/xmin"))
    if boxes > read:
        says = f"{boxes - read} of its {boxes} boxes are not the one <bndbox> of an <object>"
        notes.refuse("other places", f"{file}: {says} directly in <annotation>: move them there")


def _image(folder: Path, name: str, stated: str, files: Files, notes: Notes) -> Path:
    """The image of an annotation: its name decides, then what the annotation says."""
    found = files.images(folder / name)
    said = base_name(stated.strip())
    if len(found) > 1:
        found = [path for path in found if path.name == said] or found
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        notes.guess("names belong to several images, of which one is read", names)
    if not found and said:
        like = files.like(folder / said)
        found = files.images(folder / said) if like is None else [like]  # also without its ending
    if not found:
        return folder / f"{name}.jpg"
    file = found[0]
    if file.stem != base_name(name):
        what = "images have another name than their annotation, by their case or its filename"
        notes.guess(what, f"{name}: {file.name}")
    return file


def _object(node: ElementTree.Element, place: str, notes: Notes) -> Object | None:
    """Corners are pixels, counted from 1, inside the box: xmin=1, xmax=W is the whole width."""
    name = class_name(node.findtext("name", ""))
    if not name:
        notes.refuse("no name", f"{place} has no name")
        return None
    place = f"{place} ({name})"
    corners = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = node.findtext(f"bndbox/{key}")
        if (value := number(text)) is None:
            notes.refuse("no number", f"{place}: bndbox/{key} is {text or 'missing'}, not a number")
            return None
        corners.append(value)
    if in_fractions(corners):
        says = f"its box {corners} is in fractions of the image: write pixels, counted from 1"
        notes.refuse("fractions", f"{place}: {says}")
        return None
    x1, y1, x2, y2 = corners
    ignored = flag(node.findtext("difficult"), "difficult", place, notes)
    return Object(name, (x1 - 1, y1 - 1, x2, y2), ignored)
