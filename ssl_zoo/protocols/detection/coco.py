"""Annotations as COCO stores them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ssl_zoo.data.kinds import is_hidden
from ssl_zoo.protocols.detection.files import Files, base_name
from ssl_zoo.protocols.detection.notes import Notes
from ssl_zoo.protocols.detection.records import (
    Object,
    Record,
    class_name,
    flag,
    in_fractions,
    number,
    shown,
    stated_size,
    text_of,
)
from ssl_zoo.types import UserError

_NO_BOXES = ("image_info", "captions")  # COCO's files with these names
_PARTS = ("images", "annotations", "categories")


def coco_lists(folder: Path) -> dict[str, Path]:
    """Files whose name has a word train, trainval, val or test, optionally followed by digits.

    `instances_*` is preferred to others such as `person_keypoints_*`; two kinds hold no boxes.
    """
    lists = {}
    for split in ("train", "trainval", "val", "test"):
        word = re.compile(rf"(^|[_.-]){split}\d*([_.-]|$)")
        found = [
            path
            for path in sorted((folder / "annotations").glob("*.json"))
            if word.search(path.stem)
            and not is_hidden(path.name)
            and not path.stem.startswith(_NO_BOXES)
        ]
        found = [path for path in found if path.stem.startswith("instances")] or found
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(
                f"{folder}/annotations has several files for {split}, keep one: {names}"
            )
        if found:
            lists[split] = found[0]
    return lists


def read_coco(path: Path, files: Files, notes: Notes) -> list[Record]:
    """The annotations of a JSON file; those that are refused are noted and left out.

    Raises:
        UserError: It does not parse, or its images and categories cannot be told apart.
    """
    images, annotations, categories = _parts(path)
    records = _records(path, images, files, notes)
    names = _names(path, categories, notes)
    notes.check()  # before annotations are refused that name one of them
    for i, annotation in enumerate(annotations):
        place = f"{path}: annotations[{i}]"
        record = _named(records, annotation, "image_id", place, notes)
        name = _named(names, annotation, "category_id", place, notes)
        if record is not None and name is not None:
            box = _box(annotation.get("bbox"), place, notes)
            ignored = flag(annotation.get("iscrowd"), "iscrowd", place, notes)
            if box is not None:
                record.objects.append(Object(name, box, ignored))
    return list({id(record): record for record in records.values()}.values())


# ---- the file ----


def _parts(path: Path) -> list[list[Any]]:
    refused = f"{path} is not COCO's JSON with images, annotations, categories"
    try:
        text = text_of(path.read_bytes())
        content = json.loads(text)
    except json.JSONDecodeError as error:
        end = text.rstrip()
        cut = "; it ends too early" if error.pos >= len(end) - (end[-1:] not in "]}") else ""
        raise UserError(f"{refused}: {error}{cut}") from error
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{refused}: {error}") from error
    if not isinstance(content, dict):
        kind = "a list, as files of detections do" if isinstance(content, list) else shown(content)
        raise UserError(f"{refused}: it holds {kind}")
    for part in _PARTS:
        if not isinstance(content.get(part), list):
            state = f"{part} is {shown(content[part])}" if part in content else f"it has no {part}"
            raise UserError(f"{refused}: {state}; each must be a list")
    return [content[part] for part in _PARTS]


def _key(value: Any) -> str | None:
    """An id as text, so that 40 and "40" are one; None if it is not an id."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _keyed(part: list[Any], what: str, place: str, notes: Notes) -> Iterator[tuple[str, str, Any]]:
    """Place, id and content of each entry that has an id."""
    for i, entry in enumerate(part):
        here = f"{place}: {what}[{i}]"
        if not isinstance(entry, dict):
            notes.refuse(what, f"{here} is {shown(entry)}, not an object with an id")
        elif (key := _key(entry.get("id"))) is None:
            notes.refuse(what, f"{here} has the id {shown(entry.get('id'))}: give it a number")
        else:
            yield here, key, entry


# ---- images ----


def _records(path: Path, images: list[Any], files: Files, notes: Notes) -> dict[str, Record]:
    """An image without its objects by each of its ids."""
    folders = _folders(path)
    by_id: dict[str, Record] = {}
    by_path: dict[Path, Record] = {}
    for place, key, image in _keyed(images, "images", str(path), notes):
        name = image.get("file_name")
        if not isinstance(name, str) or not name.strip():
            given = f": {shown(name)} is not a name" if name is not None else ""
            notes.refuse("file_name", f"{path}: image {key} has no file_name{given}")
            continue
        file = _image(folders, name, place, files, notes)
        size = stated_size(image.get("height"), image.get("width"))
        record = Record(f"{path}, image {name}", file, size, [])
        if (other := by_id.setdefault(key, record)) is not record:
            if other[:3] == record[:3]:
                notes.guess("images are listed twice and read once", place)
            else:
                notes.refuse("image ids", _ambiguous(f"{path}: the id {key}", other, record))
        elif (other := by_path.setdefault(file, record)) is not record:
            if other[:3] == record[:3]:
                by_id[key] = other
                notes.guess("images are listed under two ids, whose boxes are put together", place)
            else:
                notes.refuse("image files", _ambiguous(f"the file {file}", other, record))
    return by_id


def _ambiguous(what: str, one: Record, other: Record) -> str:
    sides = [
        f"{r.place.split(', image ', 1)[1]} {r.stated_size or ''}".strip() for r in (one, other)
    ]
    return (
        f"{what} is given to {sides[0]} and to {sides[1]}, so that their boxes cannot be told "
        "apart: give each image an id and a file of its own"
    )


def _folders(path: Path) -> list[Path]:
    """Where the images may be: images/train2017, train2017, images, or the root."""
    root, word = path.parents[1], path.stem.split("_")[-1]
    folders = [root / "images" / word, root / word, root / "images", root]
    return [folder for folder in folders if folder.is_dir()]


def _image(folders: list[Path], name: str, place: str, files: Files, notes: Notes) -> Path:
    """The file of an image; where none is found, the place where it was looked for first."""
    decoded = unquote(name)
    forms = (name, name.strip(), name.replace("\\", "/"), decoded)
    for form in dict.fromkeys((*forms, base_name(name), base_name(decoded))):
        for folder in folders:
            if (file := files.like(folder / form)) is not None:
                if file != folder / name:
                    what = "file names are not those on disk"
                    notes.guess(what, f"{place} {name}, read from {file}")
                return file
    return folders[0] / name


# ---- categories and annotations ----


def _names(path: Path, categories: list[Any], notes: Notes) -> dict[str, str]:
    """Name by id."""
    names: dict[str, str] = {}
    keys: dict[str, str] = {}
    for place, key, category in _keyed(categories, "categories", str(path), notes):
        name = category.get("name")
        if not isinstance(name, str) and number(name) is not None:
            notes.guess("category names are numbers, read as text", f"{place} {name}")
            name = str(name)
        if not isinstance(name, str) or not name.strip():
            says = f"{place} (id {key}) has the name {shown(name)}: write a text"
            notes.refuse("category names", says)
            continue
        name = class_name(name)
        if (other := names.setdefault(key, name)) != name:
            says = f"{path}: categories {other} and {name} have one id, {key}: give each its own"
            notes.refuse("category ids", says)
        elif (first := keys.setdefault(name, key)) != key:
            says = f"{path}: categories {first} and {key} have one name, {name}: give each its own"
            notes.refuse("category names", says)
    return names


def _named(known: dict[str, Any], annotation: Any, key: str, place: str, notes: Notes) -> Any:
    """What an annotation refers to by an id; None, noted, if the file lacks it."""
    if not isinstance(annotation, dict):
        notes.refuse("annotations", f"{place} is {shown(annotation)}, not an object with {key}")
        return None
    if (found := known.get(_key(annotation.get(key)) or "")) is None:
        state = f"{key} {shown(annotation[key])}" if key in annotation else f"no {key}"
        notes.refuse(key, f"{place} has {state}: it needs one that the file lists")
    return found


def _box(given: Any, place: str, notes: Notes) -> tuple[float, float, float, float] | None:
    numbers = [number(value) for value in given] if isinstance(given, list) else []
    known = [value for value in numbers if value is not None]
    if len(known) != 4 or len(numbers) != 4:
        says = f"{place} needs a bbox of four numbers x, y, width, height, not {shown(given)}"
        notes.refuse("bbox", says)
        return None
    if in_fractions(known):
        says = f"{place} has the bbox {shown(given)} in fractions of the image: write pixels"
        notes.refuse("fractions", says)
        return None
    x, y, width, height = known
    return x, y, x + width, y + height
