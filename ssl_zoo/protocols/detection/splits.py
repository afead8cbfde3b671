"""Images with boxes, in the layout of Pascal VOC or of COCO."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args
from xml.etree import ElementTree

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssl_zoo.console import bar, info, warn
from ssl_zoo.data.decode import EXTENSIONS, decode, image_size
from ssl_zoo.data.samplers import epoch_order
from ssl_zoo.hashing import DETECTION_FLIP_STREAM, DETECTION_SPLIT_STREAM, hash_int64
from ssl_zoo.types import UserError

Format = Literal["auto", "voc", "coco"]
Batch = list[tuple[Tensor, dict[str, Tensor]]]

# A side of at most this many pixels is no area. VOC's two corners are pixels of the box, so equal
# ones make one pixel: labelling tools write that for a click. COCO writes widths and heights.
_NO_AREA = {"voc": 1.0, "coco": 0.0}
_NO_BOXES = ("image_info", "captions")  # COCO's files of these names


class BoxedImage(NamedTuple):
    """One image and its objects.

    Attributes:
        path: Of the image.
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
        val: The list called val, or carved out of train.
        test: The list called test; where there is none, the list called val.
        class_names: Sorted; label i is class_names[i - 1].
    """

    train: list[BoxedImage]
    val: list[BoxedImage]
    test: list[BoxedImage]
    class_names: list[str]


class _Object(NamedTuple):
    name: str
    box: tuple[float, float, float, float]
    ignored: bool


class _Record(NamedTuple):
    """One image as it was written down; `place` says where, for messages."""

    place: str
    path: Path
    stated_size: tuple[int, int] | None
    objects: list[_Object]


# ---- the three splits ----


def read_detection(
    root: str | Path, format: Format = "auto", val_fraction: float = 0.1, split_seed: int = 0
) -> DetectionSplits:
    """Read all annotations and check them against the headers of the images.

    Boxes are clipped to their image, those without area left out; both are counted and told.

    Args:
        root: VOC: holds ImageSets/Main, Annotations, JPEGImages. COCO: holds annotations/*.json.
        format: `auto` goes by those folders.
        val_fraction: Part of train that is carved out where no list is left for val.
        split_seed: Of that draw, a hash of the image's place in the list.

    Raises:
        UserError: If a list, an image or an annotation is missing or does not fit the others.
    """
    folder = Path(root).expanduser()
    layout = _layout(folder, format)
    lists = _voc_lists(folder) if layout == "voc" else _coco_lists(folder)
    read: Callable[[Path], list[_Record]] = _read_voc if layout == "voc" else _read_coco
    train_list = lists.get("train") or lists.get("trainval")
    test_list = lists.get("test") or lists.get("val")
    if train_list is None or test_list is None:
        raise UserError(
            f"protocol.detection.root={folder} has lists for {', '.join(lists) or 'no split'}: "
            "it needs train (or trainval) and test (or val)"
        )
    train, test = read(train_list), read(test_list)
    names = sorted({o.name for record in train for o in record.objects})
    if {"train", "val", "test"} <= lists.keys():
        val = read(lists["val"])
    else:
        train, val = _carve(train, val_fraction, split_seed)
    _check_disjoint({"train": train, "val": val, "test": test})
    check = _Check(names, _NO_AREA[layout], len(train) + len(val) + len(test))
    with bar(f"read {folder}") as progress:
        checked = [[check(record, progress) for record in part] for part in (train, val, test)]
    check.tell(folder)
    return _usable(folder, DetectionSplits(checked[0], checked[1], checked[2], names))


def _layout(folder: Path, format: Format) -> str:
    if format not in get_args(Format):
        raise UserError(f"protocol.detection.format={format}: use one of auto, voc, coco")
    if not folder.is_dir():
        raise UserError(f"protocol.detection.root={folder} is not a folder")
    if format != "auto":
        return format
    found = [
        layout
        for layout, pattern in (("voc", "ImageSets/Main/*.txt"), ("coco", "annotations/*.json"))
        if any(folder.glob(pattern))
    ]
    if len(found) != 1:
        state = "both" if found else "neither"
        raise UserError(
            f"protocol.detection.root={folder} holds {state} of ImageSets/Main/*.txt (VOC) and "
            "annotations/*.json (COCO): "
            + ("set protocol.detection.format" if found else "give the folder that holds one")
        )
    return found[0]


def _carve(
    records: list[_Record], fraction: float, seed: int
) -> tuple[list[_Record], list[_Record]]:
    if not 0 < fraction < 1 or len(records) < 2:
        raise UserError(
            f"protocol.detection.val_fraction={fraction} of {len(records)} images: there is no "
            "list left for val, so give a fraction between 0 and 1 of at least two images"
        )
    order = hash_int64(torch.arange(len(records)), DETECTION_SPLIT_STREAM, seed).argsort()
    count = min(max(1, round(fraction * len(records))), len(records) - 1)
    held_out = set(order[:count].tolist())
    keep = [record for i, record in enumerate(records) if i not in held_out]
    return keep, [record for i, record in enumerate(records) if i in held_out]


def _check_disjoint(splits: dict[str, list[_Record]]) -> None:
    seen: dict[Path, str] = {}
    for split, records in splits.items():
        for record in records:
            other = seen.setdefault(record.path, split)
            if other != split:
                raise UserError(f"{record.path} is in {other} and in {split}: mend the lists")


def _usable(folder: Path, splits: DetectionSplits) -> DetectionSplits:
    """The splits without training images that have nothing to train on."""
    train = [image for image in splits.train if not bool(image.ignored.all())]
    for split, images in (("train", train), ("val", splits.val), ("test", splits.test)):
        if all(bool(image.ignored.all()) for image in images):
            raise UserError(f"{folder}: no image of {split} has a box")
    if left_out := len(splits.train) - len(train):
        info(f"{folder}: {left_out} images of train have no box and are not trained on")
    return splits._replace(train=train)


# ---- one image's boxes ----


class _Check:
    """Turns records into images with good boxes, and counts the bad ones."""

    def __init__(self, names: list[str], no_area: float, total: int) -> None:
        self.labels = {name: i + 1 for i, name in enumerate(names)}
        self.no_area, self.total, self.done = no_area, total, 0
        self.clipped: list[str] = []
        self.dropped: list[str] = []

    def __call__(self, record: _Record, progress: Callable[[int, int], None]) -> BoxedImage:
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

    def _size(self, record: _Record) -> tuple[int, int]:
        if not record.path.is_file():
            raise UserError(f"{record.place}: its image {record.path} is missing")
        size = image_size(record.path)
        if record.stated_size not in (None, size):
            raise UserError(
                f"{record.place} says {record.stated_size} (height, width), but {record.path} has "
                f"{size}: its boxes belong to another picture"
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
        """One line for each kind of bad box."""
        if self.clipped:
            count = len(self.clipped)
            warn(f"{folder}: {count} boxes clipped to their image, the first: {self.clipped[0]}")
        if self.dropped:
            count = len(self.dropped)
            warn(f"{folder}: {count} boxes without area left out, the first: {self.dropped[0]}")


# ---- Pascal VOC ----


def _voc_lists(folder: Path) -> dict[str, Path]:
    paths = {s: folder / f"ImageSets/Main/{s}.txt" for s in ("train", "trainval", "val", "test")}
    return {split: path for split, path in paths.items() if path.is_file()}


def _read_voc(path: Path) -> list[_Record]:
    root = path.parents[2]
    names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    return [_voc_record(root, name, path) for name in dict.fromkeys(names)]


def _voc_record(root: Path, name: str, listed_in: Path) -> _Record:
    file = root / f"Annotations/{name}.xml"
    try:
        tree = ElementTree.parse(file).getroot()
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing: {listed_in} lists {name}") from error
    except (ElementTree.ParseError, OSError) as error:
        raise UserError(f"{file} does not parse: {error}") from error
    images = [root / f"JPEGImages/{name}{extension}" for extension in EXTENSIONS]
    image = next((path for path in images if path.is_file()), images[0])
    objects = [
        _voc_object(node, f"{file}, object {i}") for i, node in enumerate(tree.findall("object"), 1)
    ]
    return _Record(str(file), image, _voc_size(tree), objects)


def _voc_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    """(H, W) as written down; None where it is not, or is 0, as some tools write."""
    size = [tree.findtext(f"size/{side}", "0").strip() for side in ("height", "width")]
    if not all(side.isdigit() and int(side) > 0 for side in size):
        return None
    return int(size[0]), int(size[1])


def _voc_object(node: ElementTree.Element, place: str) -> _Object:
    """Corners count pixels from 1 and belong to the box: xmin=1, xmax=W is the whole width."""
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
    return _Object(name, (x1 - 1, y1 - 1, x2, y2), ignored)


# ---- COCO ----


def _coco_lists(folder: Path) -> dict[str, Path]:
    """Files whose name has a word train, val or test, digits after it allowed.

    `instances_*` goes before others such as `person_keypoints_*`; two kinds hold no boxes.
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


def _read_coco(path: Path) -> list[_Record]:
    try:
        content = json.loads(path.read_bytes())
        images = {image["id"]: image for image in content["images"]}
        names = {category["id"]: category["name"].strip() for category in content["categories"]}
        objects: dict[Any, list[_Object]] = {key: [] for key in images}
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
        place.append(_Object(name, (x, y, x + width, y + height), ignored))
    folder = _coco_images(path, next(iter(images.values()), {}))
    return [_coco_record(path, image, folder, objects[key]) for key, image in images.items()]


def _coco_record(path: Path, image: Any, folder: Path, objects: list[_Object]) -> _Record:
    size = image.get("height"), image.get("width")
    name = image.get("file_name")
    if not isinstance(name, str):
        raise UserError(f"{path}: image {image['id']} has no file_name")
    return _Record(f"{path}, image {name}", folder / name, size if all(size) else None, objects)


def _coco_images(path: Path, first: dict[str, Any]) -> Path:
    """The folder that holds the first image: images/train2017, train2017, images, or the root."""
    root, name = path.parents[1], str(first.get("file_name", ""))
    word = path.stem.split("_")[-1]
    folders = [root / "images" / word, root / word, root / "images", root]
    return next((folder for folder in folders if (folder / name).is_file()), folders[0])


# ---- batches ----


class _Images(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """(index, flip) -> the uint8 image (3, H, W) and its boxes, labels, iscrowd."""

    def __init__(self, images: list[BoxedImage]) -> None:
        self.images = images

    def __getitem__(self, key: tuple[int, bool]) -> tuple[Tensor, dict[str, Tensor]]:
        index, flip = key
        path, (_, width), boxes, labels, ignored = self.images[index]
        pixels = torch.from_numpy(decode(path)).permute(2, 0, 1)
        if flip:
            pixels = pixels.flip(-1)
            x1, y1, x2, y2 = boxes.unbind(dim=1)
            boxes = torch.stack([width - x2, y1, width - x1, y2], dim=1)
        return pixels, {"boxes": boxes, "labels": labels, "iscrowd": ignored.long()}


def train_batches(
    images: list[BoxedImage],
    batch_size: int,
    num_iterations: int,
    seed: int,
    num_workers: int = 0,
) -> Iterable[Batch]:
    """`num_iterations` batches of shuffled epochs, each image flipped half the time.

    Order and flips are functions of (seed, epoch, index); the last batch of an epoch is filled
    from the next. Ignored boxes are taken out.
    """
    shown = [
        image._replace(
            boxes=image.boxes[~image.ignored],
            labels=image.labels[~image.ignored],
            ignored=image.ignored[~image.ignored],
        )
        for image in images
    ]
    return _loader(shown, _train_keys(len(images), batch_size, num_iterations, seed), num_workers)


def eval_batches(
    images: list[BoxedImage], batch_size: int, num_workers: int = 0
) -> Iterable[Batch]:
    """All images in their order, all boxes, never flipped."""
    keys = [(i, False) for i in range(len(images))]
    batches = (keys[i : i + batch_size] for i in range(0, len(keys), batch_size))
    return _loader(images, batches, num_workers)


def _train_keys(
    num_images: int, batch_size: int, num_iterations: int, seed: int
) -> Iterator[list[tuple[int, bool]]]:
    def keys() -> Iterator[tuple[int, bool]]:
        epoch = 0
        while True:
            order = epoch_order(num_images, seed, epoch)
            flips = hash_int64(order, DETECTION_FLIP_STREAM, seed, epoch) & 1
            yield from zip(order.tolist(), flips.bool().tolist(), strict=True)
            epoch += 1

    stream = keys()
    for _ in range(num_iterations):
        yield [next(stream) for _ in range(batch_size)]


def _loader(
    images: list[BoxedImage], batches: Iterator[list[tuple[int, bool]]], num_workers: int
) -> Iterable[Batch]:
    return DataLoader(
        _Images(images),
        batch_sampler=batches,
        collate_fn=list,
        num_workers=num_workers,
        generator=torch.Generator(),  # else the loader takes a number from the global generator
    )
