"""Detection transfer: annotations, the detector, its training, its scores."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from test_evaluate import run_evaluate
from torch import Tensor, nn

from ssl_zoo.choices import CONFIG_DIR
from ssl_zoo.config import instantiate
from ssl_zoo.data.detection import BoxedImage, eval_batches, read_detection, train_batches
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.modules.backbones import torchvision_backbone
from ssl_zoo.protocols.detection import Detection, box_ap
from ssl_zoo.protocols.detector import Schedule, build_detector, predict, train_detector
from ssl_zoo.protocols.task import Task
from ssl_zoo.types import UserError

Box = tuple[str, int, int, int, int]  # class, x1 y1 x2 y2 from 0, right and lower edge outside
SIZE = 64
BCCD = Path(os.environ.get("SSL_ZOO_DATA", "/nowhere")) / "bccd"
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


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "voc")


def make_detection(root: Path, **knobs: Any) -> Detection:
    """The default config on 64-pixel images, two iterations."""
    tiny = {"image_size": SIZE, "max_size": SIZE, "num_iterations": 2, "batch_size": 2}
    tiny |= {"boxes_per_image": 16, "fpn_channels": 64, "warmup_iterations": 1}
    given = [f"protocol.detection.{key}={value}" for key, value in (tiny | knobs).items()]
    overrides = ["ckpt=random", "protocol=detection", f"protocol.detection.root={root}", *given]
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        cfg = compose("evaluate", overrides)
    protocol: Detection = instantiate(cfg.protocol.detection)
    return protocol


def resnet(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return torchvision_backbone("resnet18")


def make_task(backbone: nn.Module, stem: Path | None = None, seed: int = 0) -> Task:
    def no_data() -> Any:
        raise AssertionError("detection reads its own data")

    device = torch.device("cpu")
    return Task("random init", backbone, Preprocess(SIZE), no_data, seed, device, figure_stem=stem)


def make_detector(backbone: nn.Module, seed: int = 0) -> Any:
    return build_detector(backbone, Preprocess(SIZE), 2, [SIZE], SIZE, 16, 64, seed)


def all_boxes(images: list[BoxedImage]) -> dict[str, tuple[list[list[float]], list[int]]]:
    return {image.path.stem: (image.boxes.tolist(), image.labels.tolist()) for image in images}


# ---- annotations ----


def test_voc_and_coco_read_the_boxes_that_were_written(voc: Path, tmp_path: Path) -> None:
    for root in (voc, write_coco(tmp_path / "coco")):
        splits = read_detection(root)
        assert splits.class_names == ["blue", "red"]
        for split, images in SCENES.items():
            expected = {
                name: (
                    [[float(v) for v in box[1:]] for box in boxes],
                    [{"blue": 1, "red": 2}[box[0]] for box in boxes],
                )
                for name, boxes in images.items()
            }
            assert all_boxes(getattr(splits, split)) == expected
            assert all(image.path.is_file() for image in getattr(splits, split))


def test_the_whole_image_in_voc_is_from_1_to_its_width(voc: Path) -> None:
    write_xml(voc, "b", xml_object(("blue", 0, 0, SIZE, SIZE)))
    assert (
        f"<xmin>1</xmin><ymin>1</ymin><xmax>{SIZE}</xmax>"
        in (voc / "Annotations/b.xml").read_text()
    )
    assert read_detection(voc).train[1].boxes.tolist() == [[0.0, 0.0, SIZE, SIZE]]


def test_difficult_and_crowd_boxes_are_kept_apart(voc: Path, tmp_path: Path) -> None:
    write_xml(
        voc, "a", xml_object(SCENES["train"]["a"][0], 1), xml_object(("blue", 34, 30, 60, 60))
    )
    write_xml(voc, "b", xml_object(("blue", 0, 0, 24, 24), difficult=1))
    coco = write_coco(tmp_path / "coco")
    content = coco_json(SCENES["train"])
    content["annotations"][0]["iscrowd"] = content["annotations"][2]["iscrowd"] = 1
    (coco / "annotations/instances_train2017.json").write_text(json.dumps(content))
    for root in (voc, coco):
        train = read_detection(root).train
        assert [image.path.stem for image in train] == ["a", "c"]  # b has nothing to train on
        assert train[0].ignored.tolist() == [True, False]
        seen = [t for batch in train_batches(train, 2, 4, seed=0) for _, t in batch]
        assert sum(len(target["boxes"]) for target in seen) == 8  # one box an image
        assert not any(bool(target["iscrowd"].any()) for target in seen)


def test_bad_boxes_are_clipped_or_left_out_and_counted(
    voc: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = ("red", -5, 10, 20, 90)
    click = "<object><name>red</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax>"
    click += "<ymax>9</ymax></bndbox></object>"
    beyond = ("red", 70, 10, 80, 20)
    write_xml(voc, "c", xml_object(outside), click, xml_object(beyond))
    with caplog.at_level("WARNING", "ssl_zoo"):
        train = read_detection(voc).train
    assert train[2].boxes.tolist() == [[0.0, 10.0, 20.0, SIZE]]
    clipped, dropped = caplog.messages
    assert "1 boxes clipped" in clipped
    assert "c.xml, object 1 (red)" in clipped
    assert "2 boxes without area left out" in dropped
    assert "c.xml, object 2 (red)" in dropped


def test_val_is_carved_out_of_train_where_no_list_is_left(voc: Path) -> None:
    (voc / "ImageSets/Main/val.txt").unlink()
    splits = read_detection(voc, val_fraction=0.3)
    names = [[image.path.stem for image in part] for part in splits[:3]]
    assert sorted(names[0] + names[1]) == ["a", "b", "c"]
    assert (len(names[1]), names[2]) == (1, ["e", "f"])
    assert splits.class_names == ["blue", "red"]  # of train before the carving
    again = [read_detection(voc, val_fraction=0.3, split_seed=s).val[0].path for s in range(8)]
    assert again[0] == splits.val[0].path
    assert len(set(again)) > 1


def test_val_serves_as_test_where_test_has_no_boxes(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco")
    test = coco / "annotations/instances_test2017.json"
    test.rename(coco / "annotations/image_info_test2017.json")
    (coco / "annotations/person_keypoints_test2017.json").unlink()
    splits = read_detection(coco)
    assert [image.path.stem for image in splits.test] == ["d"]
    assert len(splits.val) == 1
    assert "d" not in {image.path.stem for image in [*splits.train, *splits.val]}


def spoil_size(root: Path) -> None:
    write_xml(root, "c", xml_object(("red", 1, 1, 9, 9)), side=65)


def spoil_class(root: Path) -> None:
    write_xml(root, "e", xml_object(("green", 1, 1, 9, 9)))


def spoil_number(root: Path) -> None:
    write_xml(root, "c", xml_object(("red", 1, 1, 9, 9)).replace(">9<", ">nine<"))


def spoil_truth(root: Path) -> None:
    for name in ("e", "f"):
        write_xml(root, name)


def spoil_overlap(root: Path) -> None:
    (root / "ImageSets/Main/test.txt").write_text("a\ne\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "JPEGImages/c.png").unlink(), r"c\.xml: its image .*c\.jpg is miss"),
        (lambda root: (root / "Annotations/c.xml").unlink(), r"c\.xml is missing: .*train\.txt"),
        (lambda root: (root / "Annotations/c.xml").write_text("<a>"), r"c\.xml does not parse"),
        (lambda root: (root / "ImageSets/Main/train.txt").unlink(), "has lists for val, test"),
        (lambda root: (root / "JPEGImages/c.png").write_text("x"), r"c\.png does not open"),
        (spoil_size, r"c\.xml says \(65, 65\).* has \(64, 64\)"),
        (spoil_class, r"e\.xml, object 1 \(green\): no image of train has this class, only blue"),
        (spoil_number, r"c\.xml, object 1 \(red\): bndbox/xmax is nine"),
        (spoil_truth, "no image of test has a box"),
        (spoil_overlap, r"a\.png is in train and in test"),
        (lambda root: (root / "annotations").mkdir(), None),
    ],
)
def test_bad_voc_trees_are_told_in_one_line(
    voc: Path, spoil: Callable[[Path], object], message: str | None
) -> None:
    spoil(voc)
    if message is None:  # an empty folder of COCO's name is no COCO
        assert read_detection(voc).class_names == ["blue", "red"]
        return
    with pytest.raises(UserError, match=message) as error:
        read_detection(voc)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [{"image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2]}]}, r"\[0\]"),
        ({"annotations": [{"image_id": 40, "category_id": 3, "bbox": [1, 1]}]}, r"\[0\] needs"),
        ({"images": 3}, "is not COCO's JSON"),
        ({"images": [{"id": 40}], "annotations": []}, "image 40 has no file_name"),
    ],
)
def test_bad_coco_files_are_told_in_one_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    coco = write_coco(tmp_path / "coco")
    file = coco / "annotations/instances_train2017.json"
    file.write_text(json.dumps(coco_json(SCENES["train"]) | change))
    with pytest.raises(UserError, match=message) as error:
        read_detection(coco)
    assert str(file) in str(error.value)


def test_the_layout_is_told_apart(voc: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds neither"):
        read_detection(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        read_detection(tmp_path / "nowhere")
    write_coco(voc)  # both layouts in one folder
    with pytest.raises(UserError, match=r"holds both .*set protocol\.detection\.format"):
        read_detection(voc)
    assert read_detection(voc, "coco").train[0].path.parent.name == "train2017"
    assert read_detection(voc, "voc").train[0].path.parent.name == "JPEGImages"


# ---- batches ----


def test_a_flip_moves_boxes_with_the_pixels(voc: Path) -> None:
    images = read_detection(voc).train
    clean = {t["boxes"].sum().item(): i for b in eval_batches(images, 2) for i, t in b}
    assert len(clean) == 3
    flipped = 0
    for batch in train_batches(images, 3, 8, seed=0):
        for pixels, target in batch:
            flipped += not any(torch.equal(pixels, i) for i in clean.values())
            for (x1, y1, x2, y2), label in zip(
                target["boxes"].int().tolist(), target["labels"].tolist(), strict=True
            ):
                inside = pixels[:, y1:y2, x1:x2].float().mean(dim=(1, 2))
                assert inside.tolist() == ([0, 0, 255] if label == 1 else [255, 0, 0])
    assert 5 <= flipped <= 19  # of 24, at even odds: fails by chance once in 200 seeds


def test_each_epoch_shows_each_image_once_in_an_order_of_its_own(voc: Path) -> None:
    images = read_detection(voc).train

    def order(seed: int) -> list[int]:
        batches = train_batches(images, 2, 9, seed)
        return [int(t["boxes"][:, 3].max()) for batch in batches for _, t in batch]

    shown = order(0)  # the lowest edge of each image tells it: 60, 24, 64
    assert [sorted(shown[i : i + 3]) for i in range(0, 18, 3)] == [[24, 60, 64]] * 6
    assert len({tuple(shown[i : i + 3]) for i in range(0, 18, 3)}) > 1
    assert order(0) == shown != order(1)


# ---- the detector ----


def test_every_parameter_of_the_detector_is_trained_norms_too(voc: Path) -> None:
    detector = make_detector(resnet().requires_grad_(False))
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    norms = [m for m in detector.modules() if hasattr(m, "running_mean")]
    assert len(norms) == 20 + 8  # of ResNet-18, and two a level in the FPN
    assert all(type(norm) is nn.BatchNorm2d for norm in norms)

    gradients: dict[str, Tensor] = {}
    for name, parameter in detector.named_parameters():
        parameter.register_hook(lambda g, name=name: gradients.__setitem__(name, g))
    images = read_detection(voc).train
    schedule = Schedule(2, 0.01, 0.9, 1e-4, 1, [])
    train_detector(detector, train_batches(images, 2, 2, 0), schedule, 0, lambda step, loss: None)

    assert gradients.keys() == dict(detector.named_parameters()).keys()
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    after = detector.state_dict()
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert still == []  # running means and variances among them


def test_random_init_and_pretrained_differ_in_the_backbone_alone() -> None:
    state = torch.get_rng_state()
    first, second = make_detector(one := resnet(0)), make_detector(resnet(1))
    other_seed = make_detector(one, seed=1)
    for name, value in first.state_dict().items():
        same = torch.equal(value, second.state_dict()[name])
        if name.startswith("backbone.module.body"):
            inner = name.removeprefix("backbone.module.body.")
            assert torch.equal(value, one.state_dict()[inner])
            assert torch.equal(value, other_seed.state_dict()[name])
        else:
            assert same
    new = "backbone.module.fpn.inner_blocks.0.0.weight"
    assert not torch.equal(first.state_dict()[new], other_seed.state_dict()[new])
    conv = "backbone.module.body.conv1.weight"
    assert not torch.equal(first.state_dict()[conv], second.state_dict()[conv])
    torch.set_rng_state(state)


def test_images_are_normalised_as_the_backbone_was_pretrained() -> None:
    preprocess = Preprocess(SIZE, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    detector = build_detector(resnet(), preprocess, 2, [SIZE], SIZE, 16, 64, 0).eval()
    image = torch.rand(3, SIZE, SIZE)
    seen, _ = detector.transform([image])
    expected = preprocess.normalize((image * 255).round().byte())
    torch.testing.assert_close(seen.tensors[0], expected, atol=0.01, rtol=0)


def test_features_and_boxes_are_float32_under_autocast() -> None:
    detector = make_detector(resnet()).eval()
    features = detector.backbone(torch.rand(1, 3, SIZE, SIZE))
    objectness, deltas = detector.rpn.head(list(features.values()))
    outputs = [*features.values(), *objectness, *deltas]
    assert {output.dtype for output in outputs} == {torch.float32}
    assert [f.shape[-1] for f in features.values()] == [16, 8, 4, 2, 1]


def test_resnets_of_timm_fit_and_other_backbones_are_refused() -> None:
    timm_resnet = timm.create_model("resnet18", num_classes=0)
    assert make_detector(timm_resnet).backbone.module.body.layer4 is not timm_resnet.layer4
    bottleneck = torchvision_backbone("resnet50", width=0.25)
    assert [
        b[0].in_channels for b in make_detector(bottleneck).backbone.module.fpn.inner_blocks
    ] == [
        *(64, 128, 256, 512),
    ]
    with pytest.raises(UserError, match="has the CIFAR stem"):
        make_detector(torchvision_backbone("resnet18", stem="cifar"))
    with pytest.raises(UserError, match=r"takes ResNets of torchvision or timm, not MobileNetV3"):
        make_detector(torchvision_backbone("mobilenet_v3_small"))


# ---- training ----


def test_training_lowers_the_loss_and_finds_the_boxes_of_one_image(voc: Path) -> None:
    image = read_detection(voc).train[:1]
    detector = make_detector(resnet())
    losses: list[float] = []
    schedule = Schedule(25, 0.02, 0.9, 1e-4, 2, [0.8])
    batches = train_batches(image, 1, 25, 0)
    train_detector(detector, batches, schedule, 0, lambda _, loss: losses.append(loss))
    assert len(losses) == 25
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])  # 0.50 to 0.56 for three seeds
    found = [one for _, found in predict(detector, eval_batches(image, 1)) for one in found]
    assert found[0]["boxes"].shape[1] == 4
    assert torch.is_grad_enabled()


def test_the_schedule_warms_up_and_decays_where_it_says() -> None:
    schedule = Schedule(90000, 0.02, 0.9, 1e-4, 1000, [0.66667, 0.88889])
    assert schedule.factor(0) == pytest.approx(0.001)
    assert schedule.factor(500) == pytest.approx(0.5005)
    steps = [1000, 59999, 60000, 79999, 80000, 89999]
    assert [schedule.factor(s) for s in steps] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    twice = schedule._replace(num_iterations=180000)
    assert [twice.factor(s) for s in (119999, 120000)] == pytest.approx([1, 0.1])
    assert [twice.factor(s) for s in (159999, 160000)] == pytest.approx([0.1, 0.01])


def test_a_loss_that_is_not_finite_stops_the_training(voc: Path) -> None:
    images = read_detection(voc).train
    detector = make_detector(resnet())
    nn.init.constant_(detector.roi_heads.box_predictor.cls_score.bias, float("nan"))
    with pytest.raises(UserError, match=r"step 1 is not finite \(loss_classifier nan.*lower"):
        train_detector(
            detector, train_batches(images, 2, 1, 0), Schedule(1, 0.1, 0.9, 0, 0, []), 0, print
        )


def test_identity_is_what_is_scored_wherever_it_lies(voc: Path, tmp_path: Path) -> None:
    first = make_detection(voc).identity()
    assert make_detection(write_coco(tmp_path / "coco")).identity() == first
    write_xml(voc, next(iter(SCENES["test"])), xml_object(("red", 5, 5, 20, 20)))
    assert make_detection(voc).identity() != first


def test_one_command(voc: Path, tmp_path: Path) -> None:
    knobs = {"root": voc, "image_size": SIZE, "max_size": SIZE, "num_iterations": 1}
    knobs |= {"boxes_per_image": 16, "fpn_channels": 16, "batch_size": 2}
    given = [f"protocol.detection.{key}={value}" for key, value in knobs.items()]
    small = ["dataset.splits.num_train=20", "dataset.splits.num_test=10"]
    result = run_evaluate(
        "ckpt=random", "backbone=resnet18", "protocol=detection", *given, *small, f"out={tmp_path}"
    )
    assert list(result["rows"]) == ["random init"]
    assert json.loads((tmp_path / "detection.json").read_text()) == result
    assert (tmp_path / "figures" / "detection_detections.png").is_file()


def test_a_row_has_its_scores_and_leaves_the_backbone_alone(voc: Path, tmp_path: Path) -> None:
    backbone = resnet()
    before = copy.deepcopy(backbone.state_dict())
    task = make_task(backbone, tmp_path / "detection_random")
    state = torch.get_rng_state()
    row = make_detection(voc).score(task)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    assert json.loads(json.dumps(row)) == row
    assert row["num_iterations"] == 2
    assert row["test_ap_per_class"].keys() == {"blue", "red"}
    scores = [row[k] for k in ("val_ap", "val_ap50", "test_ap", "test_ap50", "test_ap75")]
    assert all(0 <= score <= 1 for score in scores)
    picture = Image.open(tmp_path / "detection_random_detections.png")
    assert picture.width > 500


def test_the_same_seed_gives_the_same_detector(voc: Path) -> None:
    images = read_detection(voc).train

    def losses(seed: int) -> list[float]:
        detector, seen = make_detector(resnet()), []
        torch.rand(seed + 1)  # the global generator stands elsewhere each time
        schedule = Schedule(2, 0.01, 0.9, 1e-4, 1, [])
        train_detector(
            detector, train_batches(images, 2, 2, 0), schedule, seed, lambda _, x: seen.append(x)
        )
        return seen

    assert losses(0) == losses(0)
    assert losses(0) != losses(1)  # other anchors and proposals are drawn


# ---- scores ----


def truth(boxes: list[list[float]], labels: list[int], crowd: list[int] | None = None) -> Any:
    crowds = torch.tensor(crowd or [0] * len(labels))
    return {"boxes": torch.tensor(boxes), "labels": torch.tensor(labels), "iscrowd": crowds}


def detections(boxes: list[list[float]], labels: list[int], scores: list[float]) -> Any:
    parts = {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels).long()}
    return parts | {"scores": torch.tensor(scores)}


TWO = [[10.0, 10.0, 50.0, 50.0], [60.0, 20.0, 100.0, 60.0]]


def test_perfect_boxes_score_1_shifted_ones_less_and_swapped_classes_0() -> None:
    truths = [truth(TWO, [1, 2])]
    names = ["blue", "red", "green"]
    perfect = box_ap([detections(TWO, [1, 2], [0.9, 0.8])], truths, names)
    assert (perfect["ap"], perfect["ap50"], perfect["ap75"]) == pytest.approx((1, 1, 1))
    assert perfect["ap_per_class"] == {"blue": 1.0, "red": 1.0, "green": None}
    # 8 of 40 pixels to the right: IoU 32 / 48 = 0.667 passes 0.5, 0.55, 0.6 and 0.65 of ten
    shifted = [[x1 + 8, y1, x2 + 8, y2] for x1, y1, x2, y2 in TWO]
    scores = box_ap([detections(shifted, [1, 2], [0.9, 0.8])], truths, names)
    assert (scores["ap"], scores["ap50"], scores["ap75"]) == pytest.approx((0.4, 1, 0))
    swapped = box_ap([detections(TWO, [2, 1], [0.9, 0.8])], truths, names)
    assert (swapped["ap"], swapped["ap50"]) == (0, 0)
    assert box_ap([detections([], [], [])], truths, names)["ap"] == 0


def test_ap_is_the_area_under_the_interpolated_precision() -> None:
    # right, wrong, right by falling score over two truths: precision 1 to recall 0.5, then 2/3;
    # at COCO's 101 recalls that is (51 * 1 + 50 * 2 / 3) / 101
    found = detections([TWO[0], [0.0, 70.0, 9.0, 79.0], TWO[1]], [1, 1, 1], [0.9, 0.8, 0.7])
    scores = box_ap([found], [truth(TWO, [1, 1])], ["blue"])
    assert scores["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_ignored_boxes_are_neither_right_nor_wrong() -> None:
    truths = [truth(TWO, [1, 1], crowd=[0, 1])]
    names = ["blue"]
    both = box_ap([detections(TWO, [1, 1], [0.8, 0.9])], truths, names)
    one = box_ap([detections(TWO[:1], [1], [0.8])], truths, names)
    assert both["ap"] == one["ap"] == pytest.approx(1)
    counted = box_ap([detections(TWO[:1], [1], [0.8])], [truth(TWO, [1, 1])], names)
    assert counted["ap"] < 0.6


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"num_iterations": 0}, r"detection\.num_iterations=0: give at least 1"),
        ({"image_size": 0}, r"detection\.image_size=0"),
        ({"max_size": 32}, r"detection\.max_size=32 is below image_size=64"),
        ({"decay_at": "[400]"}, r"detection\.decay_at=\[400\]: give fractions"),
        ({"lr": 0}, r"detection\.lr=0"),
    ],
)
def test_knobs_that_make_no_sense_are_named(voc: Path, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_detection(voc, **knobs)


def test_a_missing_extra_is_named(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics.detection.mean_ap._PYCOCOTOOLS_AVAILABLE", False)
    monkeypatch.setattr("torchmetrics.detection.mean_ap._FASTER_COCO_EVAL_AVAILABLE", False)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r'pip install "ssl_zoo\[detection\]"'):
        make_detection(voc)


@pytest.mark.parametrize(("name", "total"), [("detection_1x", 90000), ("detection_2x", 180000)])
def test_the_long_schedules_compose(voc: Path, name: str, total: int) -> None:
    overrides = ["ckpt=random", f"protocol={name}", f"protocol.detection.root={voc}"]
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        cfg = compose("evaluate", overrides)
    protocol: Detection = instantiate(cfg.protocol.detection)
    assert (protocol.schedule.num_iterations, protocol.schedule.lr) == (total, 0.02)
    assert (protocol.batch_size, protocol.image_size[-1], protocol.max_size) == (16, 800, 1333)
    assert (protocol.boxes_per_image, protocol.fpn_channels) == (512, 256)


@pytest.mark.skipif(not BCCD.is_dir(), reason="SSL_ZOO_DATA names no folder with bccd")
def test_bccd_reads_as_it_lies() -> None:
    splits = read_detection(BCCD)
    assert [len(part) for part in splits[:3]] == [205, 87, 72]
    assert splits.class_names == ["Platelets", "RBC", "WBC"]
    boxes = sum(len(image.boxes) for part in splits[:3] for image in part)
    assert boxes == 4888 - 2  # two clicks without area
