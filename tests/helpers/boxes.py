"""A small detection data set in both layouts, and a detector for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from helpers.programs import composed
from ssl_zoo.backbones import torchvision_backbone
from ssl_zoo.config import instantiate
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.detection.detector import build_detector
from ssl_zoo.protocols.detection.protocol import Detection
from ssl_zoo.protocols.detection.splits import BoxedImage

Box = tuple[str, int, int, int, int]  # class, x1 y1 x2 y2 from 0, right and lower edge outside

SIZE = 64

# Two kinds of square; what each image of the data set holds.
SCENES: dict[str, dict[str, list[Box]]] = {
    "train": {
        "a": [("red", 4, 6, 30, 32), ("blue", 34, 30, 60, 60)],
        "b": [("blue", 0, 0, 24, 24)],
        "c": [("red", 20, 20, 64, 64)],
    },
    "val": {"d": [("red", 8, 8, 40, 40)]},
    "test": {"e": [("blue", 10, 12, 40, 44)], "f": [("red", 30, 2, 60, 32)]},
}


def draw(path: Path, boxes: list[Box]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (SIZE, SIZE), (90, 90, 90))
    for name, *corners in boxes:
        picture.paste(name, tuple(corners))
    picture.save(path)


def xml_object(box: Box, difficult: int = 0) -> str:
    name, x1, y1, x2, y2 = box
    corners = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{corners}</bndbox></object>"
    )


def write_xml(root: Path, name: str, *objects: str, side: int = SIZE) -> None:
    size = f"<size><width>{side}</width><height>{side}</height><depth>3</depth></size>"
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    text = f"<annotation>{size}{''.join(objects)}</annotation>"
    (root / f"Annotations/{name}.xml").write_text(text)


def write_voc(root: Path) -> Path:
    for split, images in SCENES.items():
        lists = root / "ImageSets/Main"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in images))
        for name, boxes in images.items():
            draw(root / f"JPEGImages/{name}.png", boxes)
            write_xml(root, name, *map(xml_object, boxes))
    return root


def coco_json(images: dict[str, list[Box]]) -> dict[str, Any]:
    kinds = {"blue": 7, "red": 3}  # COCO's ids have gaps and are in no order
    names = list(images)
    return {
        "images": [
            {"id": i + 40, "file_name": f"{name}.png", "height": SIZE, "width": SIZE}
            for i, name in enumerate(names)
        ],
        "categories": [{"id": i, "name": name} for name, i in kinds.items()],
        "annotations": [
            {
                "image_id": names.index(name) + 40,
                "category_id": kinds[kind],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "iscrowd": 0,
            }
            for name, boxes in images.items()
            for kind, x1, y1, x2, y2 in boxes
        ],
    }


def write_coco(root: Path) -> Path:
    (root / "annotations").mkdir(parents=True)
    for split, images in SCENES.items():
        content = json.dumps(coco_json(images))
        (root / f"annotations/instances_{split}2017.json").write_text(content)
        for other in ("captions", "person_keypoints"):
            (root / f"annotations/{other}_{split}2017.json").write_text("{}")
        for name, boxes in images.items():
            draw(root / f"images/{split}2017/{name}.png", boxes)
    return root


def make_detection(root: Path, **knobs: Any) -> Detection:
    """The default config on 64-pixel images, two iterations."""
    tiny = {"image_size": SIZE, "max_size": SIZE, "num_iterations": 2, "batch_size": 2}
    tiny |= {"boxes_per_image": 16, "fpn_channels": 64, "warmup_iterations": 1}
    given = [f"protocol.detection.{key}={value}" for key, value in (tiny | knobs).items()]
    cfg = composed("ckpt=random", "protocol=detection", f"protocol.detection.root={root}", *given)
    protocol: Detection = instantiate(cfg.protocol.detection)
    return protocol


def resnet(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return torchvision_backbone("resnet18")


def make_candidate(backbone: nn.Module, stem: Path | None = None, seed: int = 0) -> Candidate:
    def no_data() -> Any:
        raise AssertionError("detection reads its own data")

    device = torch.device("cpu")
    return Candidate(
        "random init", backbone, Preprocess(SIZE), no_data, seed, device, figure_stem=stem
    )


def make_detector(backbone: nn.Module, seed: int = 0) -> Any:
    return build_detector(backbone, Preprocess(SIZE), 2, [SIZE], SIZE, 16, 64, seed)


def all_boxes(images: list[BoxedImage]) -> dict[str, tuple[list[list[float]], list[int]]]:
    return {image.path.stem: (image.boxes.tolist(), image.labels.tolist()) for image in images}
