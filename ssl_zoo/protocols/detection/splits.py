"""Images with boxes: the three splits of a data set in Pascal VOC's or COCO's layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ssl_zoo.console import bar, info, warn
from ssl_zoo.data.decode import image_size
from ssl_zoo.hashing import DETECTION_SPLIT_STREAM, hash_int64
from ssl_zoo.protocols.detection.formats import (
    Record,
    coco_lists,
    read_coco,
    read_voc,
    voc_lists,
)
from ssl_zoo.types import BadValue, UserError

Format = Literal["auto", "voc", "coco"]

# A side of at most this many pixels has no area. VOC's two corners are pixels of the box, so equal
# ones make one pixel: labelling tools write that for a click. COCO writes widths and heights.
_NO_AREA = {"voc": 1.0, "coco": 0.0}


class BoxedImage(NamedTuple):
    """One image and its objects.

    Attributes:
        path: Its file.
        size: (H, W) in pixels.
        boxes: (K, 4) float32, x1 y1 x2 y2 in pixels; (0, 0, W, H) is the whole image.
        labels: (K,) int64 from 1; 0 is the background.
        ignored: (K,) bool: VOC's difficult, COCO's crowd; not trained on, neither right nor wrong.
    """

    path: Path
    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    ignored: Tensor


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

    Boxes are clipped to their image, those without area left out; both are counted and reported.

    Args:
        root: VOC: holds ImageSets/Main, Annotations, JPEGImages. COCO: holds annotations/*.json.
        format: `auto` decides by those folders.
        val_fraction: Fraction of train that is split off if no list is left for val.
        split_seed: For that draw, a hash of the image's place in the list.

    Raises:
        UserError: If a list, an image or an annotation is missing or does not fit the others.
    """
    folder = Path(root).expanduser()
    layout = _layout(folder, format)
    lists = voc_lists(folder) if layout == "voc" else coco_lists(folder)
    read: Callable[[Path], list[Record]] = read_voc if layout == "voc" else read_coco
    train_list = lists.get("train") or lists.get("trainval")
    test_list = lists.get("test") or lists.get("val")
    if train_list is None or test_list is None:
        says = (
            f"has lists for {', '.join(lists) or 'no split'}: it needs train (or trainval) and "
            "test (or val)"
        )
        raise BadValue("root", root, says=says)
    train, test = read(train_list), read(test_list)
    names = sorted({o.name for record in train for o in record.objects})
    if {"train", "val", "test"} <= lists.keys():
        val = read(lists["val"])
    else:
        train, val = _split_off(train, val_fraction, split_seed)
    _check_disjoint({"train": train, "val": val, "test": test})
    check = _Check(names, _NO_AREA[layout], len(train) + len(val) + len(test))
    with bar(f"read {folder}") as progress:
        checked = [[check(record, progress) for record in part] for part in (train, val, test)]
    check.tell(folder)
    return _usable(folder, DetectionSplits(checked[0], checked[1], checked[2], names))


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
        says = f"holds {state} of ImageSets/Main/*.txt (VOC) and annotations/*.json (COCO): " + (
            "set format" if found else "give the folder that holds one"
        )
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
    count = min(max(1, round(fraction * len(records))), len(records) - 1)
    held_out = set(order[:count].tolist())
    keep = [record for i, record in enumerate(records) if i not in held_out]
    return keep, [record for i, record in enumerate(records) if i in held_out]


def _check_disjoint(splits: dict[str, list[Record]]) -> None:
    seen: dict[Path, str] = {}
    for split, records in splits.items():
        for record in records:
            other = seen.setdefault(record.path, split)
            if other != split:
                raise UserError(f"{record.path} is in {other} and in {split}: fix the lists")


def _usable(folder: Path, splits: DetectionSplits) -> DetectionSplits:
    """The splits without the training images that have no box to train on."""
    train = [image for image in splits.train if not bool(image.ignored.all())]
    for split, images in (("train", train), ("val", splits.val), ("test", splits.test)):
        if all(bool(image.ignored.all()) for image in images):
            raise UserError(f"{folder}: no image of {split} has a box")
    if left_out := len(splits.train) - len(train):
        info(f"{folder}: {left_out} images of train have no box and are not trained on")
    return splits._replace(train=train)


# ---- one image's boxes ----


class _Check:
    """Turns records into images with valid boxes, and counts the invalid ones."""

    def __init__(self, names: list[str], no_area: float, total: int) -> None:
        self.labels = {name: i + 1 for i, name in enumerate(names)}
        self.no_area, self.total, self.done = no_area, total, 0
        self.clipped: list[str] = []
        self.dropped: list[str] = []

    def __call__(self, record: Record, progress: Callable[[int, int], None]) -> BoxedImage:
        size = self._size(record)
        kept = []
        for i, o in enumerate(record.objects, start=1):
            place = f"{record.place}, object {i} ({o.name})"
            if o.name not in self.labels:
                known = ", ".join(self.labels)
                raise UserError(f"{place}: no image of train has this class, only {known}")
            if not all(map(math.isfinite, o.box)):
                raise UserError(f"{place}: the box {o.box} is not finite")
            if (box := self._clip(o.box, size, place)) is not None:
                kept.append((box, self.labels[o.name], o.ignored))
        self.done += 1
        progress(self.done, self.total)
        return BoxedImage(
            record.path,
            size,
            torch.tensor([k[0] for k in kept], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([k[1] for k in kept], dtype=torch.int64),
            torch.tensor([k[2] for k in kept], dtype=torch.bool),
        )

    def _size(self, record: Record) -> tuple[int, int]:
        if not record.path.is_file():
            raise UserError(f"{record.place}: its image {record.path} is missing")
        size = image_size(record.path)
        if record.stated_size not in (None, size):
            raise UserError(
                f"{record.place} says {record.stated_size} (height, width), but {record.path} has "
                f"{size}: its boxes belong to another image"
            )
        return size

    def _clip(
        self, box: Sequence[float], size: tuple[int, int], place: str
    ) -> tuple[float, float, float, float] | None:
        height, width = size
        x1, x2 = (min(max(x, 0.0), float(width)) for x in (box[0], box[2]))
        y1, y2 = (min(max(y, 0.0), float(height)) for y in (box[1], box[3]))
        if min(x2 - x1, y2 - y1) <= self.no_area:
            self.dropped.append(place)
            return None
        if (x1, y1, x2, y2) != tuple(box):
            self.clipped.append(place)
        return x1, y1, x2, y2

    def tell(self, folder: Path) -> None:
        """One line for each kind of invalid box."""
        if self.clipped:
            count = len(self.clipped)
            warn(f"{folder}: {count} boxes clipped to their image, the first: {self.clipped[0]}")
        if self.dropped:
            count = len(self.dropped)
            warn(f"{folder}: {count} boxes without area left out, the first: {self.dropped[0]}")
