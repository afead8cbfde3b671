"""The detector and its training."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from helpers.boxes import SIZE, make_detector, resnet
from ssl_zoo.backbones import torchvision_backbone
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.protocols.detection.batches import eval_batches, train_batches
from ssl_zoo.protocols.detection.detector import Schedule, build_detector, predict, train_detector
from ssl_zoo.protocols.detection.splits import read_detection
from ssl_zoo.types import UserError

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


@pytest.mark.slow
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


@pytest.mark.slow
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
