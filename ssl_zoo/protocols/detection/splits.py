"""Images with boxes: the three splits of a data set in Pascal VOC's or COCO's layout."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from ssl_zoo.console import bar, info
from ssl_zoo.hashing import DETECTION_SPLIT_STREAM, hash_int64
from ssl_zoo.protocols.detection.boxes import BoxedImage, boxed
from ssl_zoo.protocols.detection.coco import coco_lists, read_coco
from ssl_zoo.protocols.detection.files import Files
from ssl_zoo.protocols.detection.notes import Notes
from ssl_zoo.protocols.detection.records import Record
from ssl_zoo.protocols.detection.voc import read_voc, voc_lists
from ssl_zoo.types import BadValue, UserError

Format = Literal["auto", "voc", "coco"]
_YOLO = ("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt")


class DetectionSplits(NamedTuple):
    """A data set of boxes.

    Attributes:
        train: Images with at least one box that is not ignored.
        val: The list called val, or split off train.
        test: The list called test; if there is none, the list called val.
        class_names: Sorted; label i is class_names[i - 1].
    """

    train: list[BoxedImage]
    val: list[BoxedImage]
    test: list[BoxedImage]
    class_names: list[str]


# ---- the three splits ----


def read_detection(
    root: str | Path, format: Format = "auto", val_fraction: float = 0.1, split_seed: int = 0
) -> DetectionSplits:
    """Read all annotations and check them against the headers of the images.

    Whatever is guessed, clipped or left out is counted and reported, a line for each kind.

    Args:
        root: VOC: holds ImageSets/Main, Annotations, JPEGImages. COCO: holds annotations/*.json.
        format: `auto` decides by those folders.
        val_fraction: Fraction of train that is split off if no list is left for val.
        split_seed: For that draw, a hash of the image's place in the list.

    Raises:
        UserError: If a list, an image or an annotation is missing or does not fit the others, with
            the first of a kind and their count.
    """
    folder = Path(root).expanduser()
    layout = _layout(folder, format)
    lists = voc_lists(folder) if layout == "voc" else coco_lists(folder)
    read = read_voc if layout == "voc" else read_coco
    train_list = lists.get("train") or lists.get("trainval")
    test_list = lists.get("test") or lists.get("val")
    if train_list is None or test_list is None:
        says = (
            f"has lists for {', '.join(lists) or 'no split'}: it needs train (or trainval) and "
            "test (or val)"
        )
        raise BadValue("root", root, says=says)
    notes, files = Notes(), Files()
    train, test = read(train_list, files, notes), read(test_list, files, notes)
    own_val = {"train", "val", "test"} <= lists.keys()
    val = read(lists["val"], files, notes) if own_val else []
    notes.check()
    names = sorted({o.name for record in train for o in record.objects})
    if not names:
        raise UserError(f"{train_list}: no image of train has a box")
    if not own_val:
        train, val = _split_off(train, val_fraction, split_seed)
    splits = _checked(folder, {"train": train, "val": val, "test": test}, names, layout, notes)
    notes.tell(folder)
    return _usable(folder, splits)


def _layout(folder: Path, format: Format) -> str:
    if format not in get_args(Format):
        raise BadValue("format", format, "one of auto, voc, coco")
    if not folder.is_dir():
        raise BadValue("root", folder, "a folder")
    if format != "auto":
        return format
    found = [
        layout
        for layout, pattern in (("voc", "ImageSets/Main/*.txt"), ("coco", "annotations/*.json"))
        if any(folder.glob(pattern))
    ]
    if len(found) != 1:
        state = "both" if found else "neither"
        fix = "set format" if found else "give the folder that holds one"
        if not found and any(any(folder.glob(pattern)) for pattern in _YOLO):
            fix = "YOLO's labels/*.txt are not read, convert them to COCO's JSON"
        says = f"holds {state} of ImageSets/Main/*.txt (VOC) and annotations/*.json (COCO): {fix}"
        raise BadValue("root", folder, says=says)
    return found[0]


def _split_off(
    records: list[Record], fraction: float, seed: int
) -> tuple[list[Record], list[Record]]:
    if not 0 < fraction < 1 or len(records) < 2:
        says = (
            f"of {len(records)} images: there is no list for val, so give a fraction between 0 and "
            "1 of at least two images"
        )
        raise BadValue("val_fraction", fraction, says=says)
    order = hash_int64(torch.arange(len(records)), DETECTION_SPLIT_STREAM, seed).argsort()
    number = min(max(1, round(fraction * len(records))), len(records) - 1)
    held_out = set(order[:number].tolist())
    keep = [record for i, record in enumerate(records) if i not in held_out]
    return keep, [record for i, record in enumerate(records) if i in held_out]


def _checked(
    folder: Path, parts: dict[str, list[Record]], names: list[str], layout: str, notes: Notes
) -> DetectionSplits:
    """The splits with valid boxes."""
    _check_disjoint(parts, notes)
    _tell_cases(names, notes)
    labels = {name: i for i, name in enumerate(names, start=1)}
    done, total = count(1), sum(map(len, parts.values()))
    with bar(f"read {folder}") as progress:
        images = [
            boxed(split, records, labels, layout, notes, lambda: progress(next(done), total))
            for split, records in parts.items()
        ]
    notes.check()
    return DetectionSplits(images[0], images[1], images[2], names)


def _check_disjoint(parts: dict[str, list[Record]], notes: Notes) -> None:
    seen: dict[Path, str] = {}
    for split, records in parts.items():
        for record in records:
            if (other := seen.get(record.path)) is not None:
                says = f"{record.path} is in {other} and in {split}: fix the lists"
                notes.refuse("two splits", says)
            seen[record.path] = split


def _tell_cases(names: list[str], notes: Notes) -> None:
    """Say which classes are probably one."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            what = "class names differ from another in case alone and are kept apart"
            notes.guess(what, f"{other}, {name}")


def _usable(folder: Path, splits: DetectionSplits) -> DetectionSplits:
    """The splits without the training images that have no box to train on."""
    train = [image for image in splits.train if not bool(image.ignored.all())]
    for split, images in (("train", train), ("val", splits.val), ("test", splits.test)):
        if all(bool(image.ignored.all()) for image in images):
            raise UserError(f"{folder}: no image of {split} has a box")
    if left_out := len(splits.train) - len(train):
        info(f"{folder}: {left_out} images of train have no box and are not trained on")
    return splits._replace(train=train)
