"""Detection transfer: the backbone in Faster R-CNN with FPN, all layers trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor
from torchvision.models.detection import FasterRCNN

from ssl_zoo.console import info
from ssl_zoo.extras import need
from ssl_zoo.figures import save
from ssl_zoo.protocols.base import RANDOM_INIT, Protocol
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.detection.batches import eval_batches, train_batches
from ssl_zoo.protocols.detection.detector import Schedule, build_detector, predict, train_detector
from ssl_zoo.protocols.detection.figure import draw_detections
from ssl_zoo.protocols.detection.splits import (
    BoxedImage,
    DetectionSplits,
    Format,
    read_detection,
)
from ssl_zoo.types import BadValue

_SHOWN = 6  # images in the picture
_REPORTS = 10  # lines with the loss
Boxes = dict[str, Tensor]


class Detection(Protocol):
    """Train a detector on train, and score the last weights on val and, once, on test.

    Args:
        root: Folder of the data set.
        format: auto, voc or coco.
        image_size: Shorter side in pixels; from a list, training draws one, testing takes the last.
        max_size: Maximum of the longer side.
        num_iterations: Optimizer steps.
        batch_size: Images per step.
        lr: Highest learning rate, for this batch size.
        momentum: For SGD.
        weight_decay: On all parameters except those of norms.
        warmup_iterations: Steps of linear warm-up.
        decay_at: Fractions of the iterations, at each of which the rate falls to a tenth.
        boxes_per_image: Proposals per image that the box head is trained on.
        fpn_channels: Channels of each level of the FPN; 256 in the papers.
        val_fraction: Part of train held out if there is no list for val.
        split_seed: For that draw.
        num_workers: Processes that decode; 0 = the main one.

    Raises:
        BadValue: If a number is out of range.
        UserError: If pycocotools is missing.

    Source: He et al. 2020 (MoCo), section 4.2 and appendix; schedules of Detectron2.
    """

    headline = "test_ap50"
    columns = ("test_ap50", "test_ap", "test_ap75", "val_ap50")
    floors = (RANDOM_INIT,)
    own_data = True
    trains_backbone = True

    def __init__(
        self,
        root: str,
        format: Format,
        image_size: int | Sequence[int],
        max_size: int,
        num_iterations: int,
        batch_size: int,
        lr: float,
        momentum: float,
        weight_decay: float,
        warmup_iterations: int,
        decay_at: Sequence[float],
        boxes_per_image: int,
        fpn_channels: int,
        val_fraction: float,
        split_seed: int,
        num_workers: int,
    ) -> None:
        self.root, self.format = root, format
        self.image_size = [image_size] if isinstance(image_size, int) else list(image_size)
        self.max_size, self.batch_size, self.num_workers = max_size, batch_size, num_workers
        self.boxes_per_image, self.fpn_channels = boxes_per_image, fpn_channels
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self.schedule = Schedule(
            num_iterations, lr, momentum, weight_decay, warmup_iterations, decay_at
        )
        self._check_settings()
        box_metric()  # an error now instead of after training

    def _check_settings(self) -> None:
        counts = {
            "image_size": min(self.image_size, default=0),
            "num_iterations": self.schedule.num_iterations,
            "batch_size": self.batch_size,
            "boxes_per_image": self.boxes_per_image,
            "fpn_channels": self.fpn_channels,
        }
        for name, count in counts.items():
            if count < 1:
                raise BadValue(name, count, "at least 1")
        if self.max_size < (longest := max(self.image_size)):
            raise BadValue("max_size", self.max_size, f"at least image_size={longest}")
        if self.schedule.lr <= 0:
            raise BadValue("lr", self.schedule.lr, "above 0")
        if not all(0 < part < 1 for part in self.schedule.decay_at):
            given = list(self.schedule.decay_at)
            raise BadValue("decay_at", given, "a list of fractions between 0 and 1")

    @cached_property
    def splits(self) -> DetectionSplits:
        """The splits, read once for all rows."""
        return read_detection(self.root, self.format, self.val_fraction, self.split_seed)

    def check(self, data: object) -> None:
        """Read the annotations, and refuse inconsistent ones."""
        _ = self.splits

    def identity(self, data: object) -> list[Any]:
        """File names, boxes and labels of each split."""
        return [
            [[image.path.name, image.boxes.tolist(), image.labels.tolist()] for image in split]
            for split in (self.splits.train, self.splits.val, self.splits.test)
        ]

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`val_ap`, `val_ap50`, `test_ap`, `test_ap50`, `test_ap75`, and test AP of each class.

        AP is COCO's: the mean over IoU 0.5, 0.55 ... 0.95; AP50 and AP75 are at one IoU. All lie
        between 0 and 1.
        """
        start = time.perf_counter()
        detector = self._train(candidate)
        on_val, _ = self._evaluate(detector, candidate, "val")
        on_test, shown = self._evaluate(detector, candidate, "test")
        if (path := candidate.figure("detections")) is not None:
            images = [image.path for image in self.splits.test[:_SHOWN]]
            save(draw_detections(images, *shown, self.splits.class_names), path)
        return {
            "val_ap": on_val["ap"],
            "val_ap50": on_val["ap50"],
            "test_ap": on_test["ap"],
            "test_ap50": on_test["ap50"],
            "test_ap75": on_test["ap75"],
            "test_ap_per_class": on_test["ap_per_class"],
            "num_iterations": self.schedule.num_iterations,
            "minutes": round((time.perf_counter() - start) / 60, 1),
        }

    def _train(self, candidate: Candidate) -> FasterRCNN:
        detector = build_detector(
            candidate.backbone,
            candidate.preprocess,
            len(self.splits.class_names),
            self.image_size,
            self.max_size,
            self.boxes_per_image,
            self.fpn_channels,
            candidate.seed,
        )
        total = self.schedule.num_iterations
        batches = train_batches(
            self.splits.train, self.batch_size, total, candidate.seed, self.num_workers
        )
        every = max(1, total // _REPORTS)
        with candidate.bar("detection, train") as progress:

            def on_step(step: int, loss: float) -> None:
                progress(step, total)
                if step % every == 0:
                    info(f"{candidate.name}: iteration {step} of {total}, loss {loss:.3f}")

            train_detector(detector, batches, self.schedule, candidate.seed, on_step)
        return detector

    def _evaluate(
        self, detector: FasterRCNN, candidate: Candidate, split: str
    ) -> tuple[dict[str, Any], tuple[list[Boxes], list[Boxes]]]:
        """Scores, and the ground truth and predictions of the first images."""
        images: list[BoxedImage] = getattr(self.splits, split)
        batches = eval_batches(images, self.batch_size, self.num_workers)
        truths: list[Boxes] = []
        predictions: list[Boxes] = []
        with candidate.bar(f"detection, {split}") as progress:
            for batch, found in predict(detector, batches):
                truths += [target for _, target in batch]
                predictions += found
                progress(len(truths), len(images))
        scores = box_ap(predictions, truths, self.splits.class_names)
        return scores, (truths[:_SHOWN], predictions[:_SHOWN])


def box_metric() -> Any:
    """Torchmetrics' mean average precision over boxes.

    Raises:
        UserError: If pycocotools is missing.
    """
    from torchmetrics.detection import MeanAveragePrecision

    need("protocol=detection", "pycocotools")
    return MeanAveragePrecision(class_metrics=True)


def box_ap(
    predictions: list[Boxes], truths: list[Boxes], class_names: Sequence[str]
) -> dict[str, Any]:
    """COCO's box AP.

    A detection counts neither as right nor as wrong if the share of its area inside a truth with
    `iscrowd` (VOC's difficult) is at least the IoU threshold. That is COCO's rule; VOC's tool uses
    the IoU.

    Args:
        predictions: For each image: boxes (K, 4), labels (K,) from 1, scores (K,).
        truths: For each image: boxes (K, 4), labels (K,), iscrowd (K,).
        class_names: Label i is class_names[i - 1].

    Returns:
        `ap`, `ap50`, `ap75`, and `ap_per_class` by name, None if no truth has the class.
    """
    metric = box_metric()
    metric.update(predictions, truths)
    scores = metric.compute()
    classes = scores["classes"].reshape(-1).tolist()
    of_class = dict(zip(classes, scores["map_per_class"].reshape(-1).tolist(), strict=True))
    per_class = {name: of_class.get(i, -1.0) for i, name in enumerate(class_names, start=1)}
    return {
        "ap": float(scores["map"]),
        "ap50": float(scores["map_50"]),
        "ap75": float(scores["map_75"]),
        "ap_per_class": {k: None if v < 0 else v for k, v in per_class.items()},
    }
