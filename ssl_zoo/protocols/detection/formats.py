"""Annotations as Pascal VOC and COCO store them; `splits` checks them against the images."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ssl_zoo.types import UserError

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # tried in this order
_NO_BOXES = ("image_info", "captions")  # COCO's files with these names


class Object(NamedTuple):
    """One object of an image: its class, x1 y1 x2 y2 in pixels, and whether it is ignored."""

    name: str
    box: tuple[float, float, float, float]
    ignored: bool


class Record(NamedTuple):
    """One image as annotated; `place` says where, for messages."""

    place: str
    path: Path
    stated_size: tuple[int, int] | None
    objects: list[Object]


# ---- Pascal VOC ----


def voc_lists(folder: Path) -> dict[str, Path]:
    """The existing lists of images, by split."""
    paths = {s: folder / f"ImageSets/Main/{s}.txt" for s in ("train", "trainval", "val", "test")}
    return {split: path for split, path in paths.items() if path.is_file()}


def read_voc(path: Path) -> list[Record]:
    """The annotations of a list.

    Raises:
        UserError: If one is missing or does not parse.
    """
    root = path.parents[2]
    names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    return [_voc_record(root, name, path) for name in dict.fromkeys(names)]


def _voc_record(root: Path, name: str, listed_in: Path) -> Record:
    file = root / f"Annotations/{name}.xml"
    try:
        tree = ElementTree.parse(file).getroot()
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing: {listed_in} lists {name}") from error
    except (ElementTree.ParseError, OSError) as error:
        raise UserError(f"{file} does not parse: {error}") from error
    images = [root / f"JPEGImages/{name}{extension}" for extension in _EXTENSIONS]
    image = next((path for path in images if path.is_file()), images[0])
    objects = [
        _voc_object(node, f"{file}, object {i}") for i, node in enumerate(tree.findall("object"), 1)
    ]
    return Record(str(file), image, _voc_size(tree), objects)


def _voc_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    """(H, W) as stated; None if missing or 0, as some tools write."""
    size = [tree.findtext(f"size/{side}", "0").strip() for side in ("height", "width")]
    if not all(side.isdigit() and int(side) > 0 for side in size):
        return None
    return int(size[0]), int(size[1])


def _voc_object(node: ElementTree.Element, place: str) -> Object:
    """Corners are pixels, counted from 1, inside the box: xmin=1, xmax=W is the whole width."""
    name = node.findtext("name", "").strip()
    if not name:
        raise UserError(f"{place} has no name")
    corners = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = node.findtext(f"bndbox/{key}", "nothing")
        try:
            corners.append(float(text))
        except ValueError as error:
            raise UserError(f"{place} ({name}): bndbox/{key} is {text}, not a number") from error
    x1, y1, x2, y2 = corners
    ignored = node.findtext("difficult", "0").strip() not in ("0", "")
    return Object(name, (x1 - 1, y1 - 1, x2, y2), ignored)


# ---- COCO ----


def coco_lists(folder: Path) -> dict[str, Path]:
    """Files whose name has a word train, val or test, optionally followed by digits.

    `instances_*` is preferred to others such as `person_keypoints_*`; two kinds hold no boxes.
    """
    lists = {}
    for split in ("train", "val", "test"):
        word = re.compile(rf"(^|[_.-]){split}\d*([_.-]|$)")
        found = [
            path
            for path in sorted((folder / "annotations").glob("*.json"))
            if word.search(path.stem) and not path.stem.startswith(_NO_BOXES)
        ]
        found = [path for path in found if path.stem.startswith("instances")] or found
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(f"{folder}/annotations has several files for {split}: {names}")
        if found:
            lists[split] = found[0]
    return lists


def read_coco(path: Path) -> list[Record]:
    """The annotations of a JSON file.

    Raises:
        UserError: If it does not parse, or a part of it is missing.
    """
    try:
        content = json.loads(path.read_bytes())
        images = {image["id"]: image for image in content["images"]}
        names = {category["id"]: category["name"].strip() for category in content["categories"]}
        objects: dict[Any, list[Object]] = {key: [] for key in images}
        annotations = content["annotations"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(
            f"{path} is not COCO's JSON with images, annotations, categories: "
            f"{type(error).__name__} {error}"
        ) from error
    for i, annotation in enumerate(annotations):
        try:
            x, y, width, height = map(float, annotation["bbox"])
            name, place = names[annotation["category_id"]], objects[annotation["image_id"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: annotations[{i}] needs image_id and category_id that the file lists, "
                f"and a bbox of four numbers: {type(error).__name__} {error}"
            ) from error
        ignored = bool(annotation.get("iscrowd", 0))
        place.append(Object(name, (x, y, x + width, y + height), ignored))
    folder = _coco_images(path, next(iter(images.values()), {}))
    return [_coco_record(path, image, folder, objects[key]) for key, image in images.items()]


def _coco_record(path: Path, image: Any, folder: Path, objects: list[Object]) -> Record:
    size = image.get("height"), image.get("width")
    name = image.get("file_name")
    if not isinstance(name, str):
        raise UserError(f"{path}: image {image['id']} has no file_name")
    return Record(f"{path}, image {name}", folder / name, size if all(size) else None, objects)


def _coco_images(path: Path, first: dict[str, Any]) -> Path:
    """The folder that holds the first image: images/train2017, train2017, images, or the root."""
    root, name = path.parents[1], str(first.get("file_name", ""))
    word = path.stem.split("_")[-1]
    folders = [root / "images" / word, root / word, root / "images", root]
    return next((folder for folder in folders if (folder / name).is_file()), folders[0])
