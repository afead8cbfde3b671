"""Records to images with valid boxes: checked against the headers of their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_zoo.data.decode import header
from ssl_zoo.protocols.detection.notes import Notes
from ssl_zoo.protocols.detection.records import Record
from ssl_zoo.types import UserError

# A side of at most this many pixels has no area. VOC's two corners are pixels of the box, so equal
# ones make one pixel: labelling tools write that for a click. COCO writes widths and heights.
_NO_AREA = {"voc": 1.0, "coco": 0.0}
_BOX = {"voc": "xmin ymin xmax ymax in pixels", "coco": "x, y, width, height in pixels"}
_ALL, _MANY = 0.95, 0.25  # shares of a list's boxes by which corners are told from widths


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


class Boxes:
    """Turns the records of one list into images with valid boxes.

    Args:
        labels: Label by class name.
        layout: voc or coco.
        notes: Takes what is refused, clipped and left out.
    """

    def __init__(self, labels: dict[str, int], layout: str, notes: Notes) -> None:
        self.labels, self.layout, self.notes = labels, layout, notes
        self.count = 0
        self.left_out: list[str] = []
        self.as_corners = 0  # COCO's boxes that lie in their image if x1 y1 x2 y2 were meant
        self.leaving: list[str] = []  # and those that leave it as x, y, width, height

    def __call__(self, record: Record) -> BoxedImage | None:
        """The image; None, noted, if its file is not the annotated one."""
        if (size := self._size(record)) is None:
            return None
        # By all that is known of a box, so that repeated ones are one.
        kept: dict[tuple[tuple[float, float, float, float], int, bool], int] = {}
        for i, o in enumerate(record.objects, start=1):
            place = f"{record.place}, object {i} ({o.name})"
            if o.name not in self.labels:
                known = ", ".join(list(self.labels)[:20])
                says = f"{place}: no image of train has this class, only {known}"
                self.notes.refuse("class", says)
            elif (box := self._clip(o.box, size, place)) is not None:
                key = (box, self.labels[o.name], o.ignored)
                if kept.setdefault(key, i) != i:
                    self.notes.guess("boxes given twice are counted once", place)
        return BoxedImage(
            record.path,
            size,
            torch.tensor([box for box, _, _ in kept], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([label for _, label, _ in kept], dtype=torch.int64),
            torch.tensor([ignored for _, _, ignored in kept], dtype=torch.bool),
        )

    def check(self, split: str) -> None:
        """Refuse a list whose boxes are probably not written as its layout has them."""
        if len(self.left_out) > self.count / 2:
            self.notes.refuse(
                "no area",
                f"{len(self.left_out)} of {self.count} boxes of {split} have no area in their "
                f"image, the first: {self.left_out[0]}; a box is {_BOX[self.layout]}",
            )
        if self.as_corners >= _ALL * self.count and len(self.leaving) > _MANY * self.count:
            self.notes.refuse(
                "corners",
                f"{len(self.leaving)} of {self.count} boxes of {split} leave their image, the "
                f"first: {self.leaving[0]}, and all lie in it as x1, y1, x2, y2: a box is "
                f"{_BOX[self.layout]}",
            )

    def _size(self, record: Record) -> tuple[int, int] | None:
        path, stated = record.path, record.stated_size
        if not os.path.isfile(path):
            self.notes.refuse("no image", f"{record.place}: its image {path} is missing")
            return None
        try:
            size, _, orientation, _ = header(path)
        except UserError as error:
            self.notes.refuse("damaged", str(error))
            return None
        if stated not in (None, size):
            says = "its boxes belong to another image"
            if stated == size[::-1]:
                says = "height and width are exchanged: correct them"
                if orientation >= 5:
                    says = (
                        "its boxes were drawn before the turn that its EXIF orientation asks for: "
                        "remove that orientation from the file, or label the upright image"
                    )
            says = f"says {stated} (height, width), but {path} has {size}: {says}"
            self.notes.refuse("size", f"{record.place} {says}")
            return None
        if orientation > 1 and (stated is None or orientation < 5 or size[0] == size[1]):
            what = "images are turned by EXIF; their boxes are taken as drawn on the upright image"
            self.notes.guess(what, record.place)
        return size

    def _clip(
        self, box: Sequence[float], size: tuple[int, int], place: str
    ) -> tuple[float, float, float, float] | None:
        height, width = size
        self._compare(box, size, place)
        x1, x2 = (min(max(x, 0.0), float(width)) for x in (box[0], box[2]))
        y1, y2 = (min(max(y, 0.0), float(height)) for y in (box[1], box[3]))
        if min(x2 - x1, y2 - y1) <= _NO_AREA[self.layout]:
            self.left_out.append(place)
            self.notes.guess("boxes without area left out", place)
            return None
        if (x1, y1, x2, y2) != tuple(box):
            self.notes.guess("boxes clipped to their image", place)
        return x1, y1, x2, y2

    def _compare(self, box: Sequence[float], size: tuple[int, int], place: str) -> None:
        """Count the box, and see whether COCO's width and height would do as a second corner."""
        self.count += 1
        if self.layout == "voc":
            return
        height, width = size
        x, y, x2, y2 = box
        w, h = x2 - x, y2 - y
        self.as_corners += x < w <= width + 1 and y < h <= height + 1
        if x2 > width + 1 or y2 > height + 1:
            self.leaving.append(place)


def boxed(
    split: str,
    records: list[Record],
    labels: dict[str, int],
    layout: str,
    notes: Notes,
    step: Callable[[], None],
) -> list[BoxedImage]:
    """The images of a list with valid boxes.

    Args:
        split: Its name, for messages.
        records: As annotated.
        labels: Label by class name.
        layout: voc or coco.
        notes: Takes what is refused, clipped and left out.
        step: Called after each image.
    """
    boxes = Boxes(labels, layout, notes)
    images = []
    for record in records:
        images.append(boxes(record))
        step()
    boxes.check(split)
    return [image for image in images if image is not None]
