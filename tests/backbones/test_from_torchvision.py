"""Backbones of torchvision against torchvision itself, with stem and width."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

from helpers.networks import count, map_before_pooling, noise, on_meta, stages
from helpers.tiers import every
from ssl_zoo.backbones import torchvision_backbone
from ssl_zoo.types import UserError

# --- torchvision --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stem", "parameters"),
    [
        ("resnet18", "imagenet", 11_176_512),
        ("resnet50", "imagenet", 23_508_032),
        ("resnet18", "cifar", 11_168_832),
        ("resnet50", "cifar", 23_500_352),
    ],
)
def test_resnet_sizes(name: str, stem: Any, parameters: int) -> None:
    assert count(on_meta(torchvision_backbone, name, stem)) == parameters


@pytest.mark.parametrize(
    ("name", "node", "size"),
    [
        ("resnet18", "flatten", 64),
        ("resnext50_32x4d", "flatten", 32),
        ("mobilenet_v3_small", "classifier.2", 64),
    ],
)
def test_features_are_torchvisions(name: str, node: str, size: int) -> None:
    theirs = torchvision.models.get_model(name)
    ours = torchvision_backbone(name)
    missing, extra = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert missing == []
    assert all(key.startswith(("fc.", "classifier.")) for key in extra)
    reference = create_feature_extractor(theirs.eval(), {node: "features"})
    images = noise(2, 3, size, size)
    with torch.no_grad():
        features, expected = ours.eval()(images), reference(images)["features"]
    assert features.shape == (2, ours.num_features)
    torch.testing.assert_close(features, expected)


def test_initialisation_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().state_dict()
    torch.manual_seed(0)
    ours = torchvision_backbone("resnet18").state_dict()
    assert theirs.keys() - ours.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("name", "features"),
    every(
        5,
        [
            ("resnet18", 512),
            ("resnet34", 512),
            ("resnet50", 2048),
            ("wide_resnet50_2", 2048),
            ("resnext50_32x4d", 2048),
        ],
    ),
)
def test_cifar_stem_of_torchvision(name: str, features: int) -> None:
    model = on_meta(torchvision_backbone, name, stem="cifar")
    conv = model.conv1
    assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
    assert conv.bias is None
    images = torch.empty(2, 3, 32, 32, device="meta")
    assert map_before_pooling(model, images) == (2, features, 4, 4)
    assert model(images).shape == (2, features)
    usual = on_meta(torchvision_backbone, name)
    assert map_before_pooling(usual, images) == (2, features, 1, 1)
    assert count(usual) - count(model) == 64 * 3 * (49 - 9)


def test_cifar_stem_starts_like_the_other_convolutions() -> None:
    torch.manual_seed(0)
    model: Any = torchvision_backbone("resnet18", stem="cifar")
    expected = (2 / (64 * 9)) ** 0.5  # He et al. 2015, fan out
    assert model.conv1.weight.std().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize(("name", "full"), [("resnet18", 512), ("resnet50", 2048)])
@pytest.mark.parametrize("width", [0.25, 0.5, 2.0])
def test_width(name: str, full: int, width: float, stem: Any) -> None:
    model = on_meta(torchvision_backbone, name, stem=stem, width=width)
    assert model.num_features == full * width
    images = torch.empty(2, 3, 64, 64, device="meta")
    assert model(images).shape == (2, full * width)
    channels = [model.conv1.out_channels, *(s[0].conv1.out_channels for s in stages(model))]
    assert channels == [64 * width, 64 * width, 128 * width, 256 * width, 512 * width]


def test_width_of_a_real_one() -> None:
    model = torchvision_backbone("resnet18", stem="cifar", width=0.25)
    features = model(noise(4, 3, 32, 32))
    assert features.shape == (4, 128)
    assert features.isfinite().all()


@pytest.mark.parametrize(("name", "last"), [("resnet18", "bn2"), ("resnet50", "bn3")])
def test_zero_init_residual(name: str, last: str) -> None:
    started: Any = torchvision_backbone(name, width=0.25, zero_init_residual=True)
    usual: Any = torchvision_backbone(name, width=0.25)
    for stage, usual_stage in zip(stages(started), stages(usual), strict=True):
        for block, usual_block in zip(stage, usual_stage, strict=True):
            assert (getattr(block, last).weight == 0).all()
            assert (getattr(usual_block, last).weight == 1).all()
            assert (block.bn1.weight == 1).all()
    x = noise(2, started.num_features, 4, 4)
    torch.testing.assert_close(started.layer4[1](x), x.relu())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet19"}, "name=resnet19"),
        ({"name": "fcn_resnet50"}, "name=fcn_resnet50"),  # a segmenter
        ({"name": "vit_b_16", "stem": "cifar"}, "name=vit_b_16 is not a ResNet"),
        ({"name": "vgg11", "width": 0.5}, "vgg11 is not a ResNet"),
        ({"name": "vgg11", "zero_init_residual": True}, "vgg11 is not a ResNet"),
        ({"name": "resnet18", "weights": "DEFAULT", "width": 0.5}, "weights=DEFAULT"),
        ({"name": "resnet18", "weights": "DEFAULT", "stem": "cifar"}, "weights=DEFAULT"),
        ({"name": "resnet18", "weights": "OLD"}, "weights=OLD: .* resnet18's: IMAGENET1K_V1"),
        ({"name": "resnet18", "stem": "cifr"}, "stem=cifr: must be one of imagenet, cifar"),
        ({"name": "resnet18", "width": 0.0}, "width=0.0"),
    ],
)
def test_torchvision_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        on_meta(torchvision_backbone, **options)


# --- all that conf/backbone names ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["densenet121", "vit_b_16", "swin_t", "alexnet", "efficientnet_b0"]
)
def test_num_features_of_torchvision(name: str) -> None:
    model: Any = on_meta(torchvision_backbone, name)
    features = model(torch.empty(2, 3, 224, 224, device="meta"))
    assert features.shape == (2, model.num_features)
