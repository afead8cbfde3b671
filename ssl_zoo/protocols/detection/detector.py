"""Faster R-CNN with FPN on a pretrained ResNet: building, training and predicting."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.hardware import at_least_float32, autocast
from ssl_zoo.protocols.detection.batches import Batch
from ssl_zoo.ramps import steps_down, warm_up
from ssl_zoo.types import UserError

_STAGES = ("layer1", "layer2", "layer3", "layer4")


class InAutocast(nn.Module):
    """A module that computes in bfloat16 where it is native and returns float32.

    Only the parts that cost time are wrapped, since torchvision gives anchors and boxes the dtype
    of the features: bfloat16 rounds a coordinate above 256 to an even number.
    """

    def __init__(self, module: nn.Module, context: Callable[[], AbstractContextManager[Any]]):
        super().__init__()
        self.module, self.context = module, context

    def forward(self, inputs: Any) -> Any:
        with self.context():
            return _float32(self.module(inputs))


def _float32(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _float32(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_float32(part) for part in value)
    return at_least_float32(value)


def build_detector(
    backbone: nn.Module,
    preprocess: Preprocess,
    num_classes: int,
    image_size: Sequence[int],
    max_size: int,
    boxes_per_image: int,
    fpn_channels: int,
    seed: int,
    detections_per_image: int = 100,
    precision: str = "auto",
) -> FasterRCNN:
    """A copy of the backbone in Faster R-CNN with FPN, all layers trainable, on its device.

    All batch norms are trained: the backbone's start as pretrained, the FPN's are new; the heads
    have none (He et al. 2020, section 4.2 and appendix; there synchronised over GPUs, here one
    process sees the whole batch).

    Args:
        backbone: A ResNet with the ImageNet stem, of torchvision or timm; it is not changed.
        preprocess: Its mean and std normalise the images.
        num_classes: Without the background.
        image_size: Shorter side in pixels; from a list, training draws one, testing takes the last.
        max_size: Maximum of the longer side.
        boxes_per_image: Proposals per image that the box head is trained on.
        fpn_channels: Channels of each level of the FPN and of the RPN's head.
        seed: For the new layers, drawn without touching the global generator.
        detections_per_image: The most confident ones of an image that are kept.
        precision: 32-true, bf16-mixed, or auto.

    Raises:
        UserError: If the backbone is not such a ResNet.
    """
    widths = _stage_widths(backbone)
    device = next(backbone.parameters()).device
    body = copy.deepcopy(backbone).requires_grad_(True)
    layers = {stage: str(i) for i, stage in enumerate(_STAGES)}
    with seeded(seed):
        detector = FasterRCNN(
            BackboneWithFPN(body, layers, widths, fpn_channels, norm_layer=nn.BatchNorm2d),
            num_classes + 1,
            min_size=tuple(image_size),
            max_size=max_size,
            image_mean=preprocess.mean.flatten().tolist(),
            image_std=preprocess.std.flatten().tolist(),
            box_batch_size_per_image=boxes_per_image,
            box_detections_per_img=detections_per_image,
        )
    context = autocast(device, precision)
    detector.backbone = InAutocast(detector.backbone, context)
    detector.rpn.head = InAutocast(detector.rpn.head, context)
    detector.roi_heads.box_head = InAutocast(detector.roi_heads.box_head, context)
    return detector.to(device, memory_format=torch.channels_last)


def _stage_widths(backbone: Any) -> list[int]:
    """Channels of the four stages."""
    needed = ("conv1", "bn1", "maxpool", *_STAGES, "num_features")
    if not all(hasattr(backbone, name) for name in needed):
        raise UserError(
            f"protocol=detection takes ResNets of torchvision or timm, "
            f"not {type(backbone).__name__}"
        )
    if isinstance(backbone.maxpool, nn.Identity):
        raise UserError(
            "protocol=detection takes ResNets with the ImageNet stem: this one has the CIFAR stem, "
            "pretrain with backbone.stem=imagenet"
        )
    inner = [getattr(backbone, stage)[0].conv1.in_channels for stage in _STAGES[1:]]
    return [*inner, backbone.num_features]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators start from `seed` inside, and are restored afterwards.

    Torchvision draws its new layers, and its samples of anchors and proposals, from them.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


class Schedule(NamedTuple):
    """SGD as in Detectron2: linear warm-up from lr / 1000, a tenth of the rate at each decay.

    Attributes:
        num_iterations: Optimizer steps.
        lr: Highest learning rate.
        momentum: For SGD.
        weight_decay: On all parameters except those of norms.
        warmup_iterations: Steps until `lr` is reached.
        decay_at: Fractions of `num_iterations`.
    """

    num_iterations: int
    lr: float
    momentum: float
    weight_decay: float
    warmup_iterations: int
    decay_at: Sequence[float]

    def factor(self, step: int) -> float:
        """The factor on `lr` at a step, counted from 0."""
        milestones = [int(part * self.num_iterations) for part in self.decay_at]
        warmup = warm_up(step, self.warmup_iterations, first=0.001)
        return warmup * steps_down(step, milestones)


def train_detector(
    detector: FasterRCNN,
    batches: Iterable[Batch],
    schedule: Schedule,
    seed: int,
    on_step: Callable[[int, float], None],
) -> None:
    """Train all parameters; on_step(steps done, loss).

    Args:
        detector: Trained in place.
        batches: `schedule.num_iterations` batches.
        schedule: Schedule of the optimizer.
        seed: For torchvision's samples of anchors and proposals.
        on_step: Called after each step.

    Raises:
        UserError: If the loss is not finite.
    """
    device = next(detector.parameters()).device
    optimizer = torch.optim.SGD(
        _groups(detector, schedule.weight_decay), schedule.lr, schedule.momentum
    )
    scheduler = LambdaLR(optimizer, schedule.factor)
    detector.train()
    with seeded(seed):
        for step, batch in enumerate(batches, start=1):
            losses = detector(*_to_device(batch, device))
            loss = torch.stack(list(losses.values())).sum()
            if not bool(loss.isfinite()):
                parts = ", ".join(
                    f"{name} {float(value.detach()):g}" for name, value in losses.items()
                )
                raise UserError(f"the loss of step {step} is not finite ({parts}): lower lr")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            on_step(step, float(loss.detach()))


def _groups(detector: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    norms = [m for m in detector.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    of_norms = {id(p) for norm in norms for p in norm.parameters()}
    rest = [p for p in detector.parameters() if id(p) not in of_norms]
    return [
        {"params": rest, "weight_decay": weight_decay},
        {"params": [p for norm in norms for p in norm.parameters()], "weight_decay": 0.0},
    ]


def _to_device(batch: Batch, device: torch.device) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [image.to(device, non_blocking=True).float().div_(255) for image, _ in batch]
    return images, [{key: value.to(device) for key, value in t.items()} for _, t in batch]


def predict(
    detector: FasterRCNN, batches: Iterable[Batch]
) -> Iterator[tuple[Batch, list[dict[str, Tensor]]]]:
    """Each batch with its predictions (boxes, labels, scores) on the CPU, in image coordinates."""
    device = next(detector.parameters()).device
    detector.eval()
    for batch in batches:
        with torch.no_grad():  # not around the loop: a generator would switch it for its caller
            found = detector(_to_device(batch, device)[0])
        yield batch, [{key: value.cpu() for key, value in one.items()} for one in found]
