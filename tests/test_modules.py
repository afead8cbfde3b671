"""Backbones against torchvision and known sizes; the two small nets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.feature_extraction import create_feature_extractor

from ssl_zoo.choices import CONFIG_DIR
from ssl_zoo.modules.backbones import timm_backbone, torchvision_backbone
from ssl_zoo.modules.small_nets import ConvNet, SmallResNet
from ssl_zoo.types import UserError

Make = Callable[..., DictConfig]
NAMES = {"torchvision": "mobilenet_v3_small", "timm": "vit_tiny_patch16_224"}


def on_meta(build: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> Any:
    """Built without memory or work: shapes and counts alone."""
    with torch.device("meta"):
        return build(*args, **kwargs)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def map_before_pooling(model: Any, images: Tensor) -> tuple[int, ...]:
    shapes: list[tuple[int, ...]] = []
    hook = model.layer4.register_forward_hook(lambda m, x, y: shapes.append(tuple(y.shape)))
    model(images)
    hook.remove()
    return shapes[0]


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
    [
        ("resnet18", 512),
        ("resnet34", 512),
        ("resnet50", 2048),
        ("wide_resnet50_2", 2048),
        ("resnext50_32x4d", 2048),
    ],
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


def test_cifar_stem_of_timm() -> None:
    model = on_meta(timm_backbone, "resnet18", stem="cifar")
    assert count(model) == 11_168_832
    images = torch.empty(2, 3, 32, 32, device="meta")
    assert map_before_pooling(model, images) == (2, 512, 4, 4)
    assert model(images).shape == (2, model.num_features) == (2, 512)


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


def stages(model: Any) -> list[Any]:
    return [model.layer1, model.layer2, model.layer3, model.layer4]


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
        ({"name": "squeezenet1_0"}, "no linear classifier"),
        ({"name": "vit_b_16", "stem": "cifar"}, "vit_b_16 is no ResNet"),
        ({"name": "vgg11", "width": 0.5}, "vgg11 is no ResNet"),
        ({"name": "vgg11", "zero_init_residual": True}, "vgg11 is no ResNet"),
        ({"name": "resnet18", "weights": "DEFAULT", "width": 0.5}, "weights=DEFAULT"),
        ({"name": "resnet18", "weights": "DEFAULT", "stem": "cifar"}, "weights=DEFAULT"),
        ({"name": "resnet18", "weights": "OLD"}, "weights=OLD .* IMAGENET1K_V1"),
        ({"name": "resnet18", "stem": "cifr"}, "stem=cifr .* imagenet, cifar"),
        ({"name": "resnet18", "width": 0.0}, "width=0.0"),
    ],
)
def test_torchvision_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        on_meta(torchvision_backbone, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vit_tny"}, "name=vit_tny"),
        ({"name": "resnet1"}, "near: .*resnet1"),
        ({"name": "vit_tiny_patch16_224", "stem": "cifar"}, "which vit_tiny_patch16_224 lacks"),
        ({"name": "resnet18d", "stem": "cifar"}, "which resnet18d lacks"),  # three convolutions
        ({"name": "resnet18", "stem": "cifr"}, "stem=cifr"),
    ],
)
def test_timm_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        on_meta(timm_backbone, **options)


# --- all that conf/backbone names ---------------------------------------------------------------


@pytest.mark.parametrize("option", sorted(p.stem for p in Path(CONFIG_DIR).glob("backbone/*")))
def test_every_config(option: str, make_config: Make) -> None:
    name = [f"backbone.name={NAMES[option]}"] if option in NAMES else []
    cfg = make_config(f"backbone={option}", *name, tiny=False)
    model: Any = on_meta(instantiate, cfg.backbone)
    size = 224 if option == "timm" else 64
    features = model(torch.empty(2, 3, size, size, device="meta"))
    assert features.shape == (2, model.num_features)
    features.sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "vgg11", "convnext_atto", "resnet18d"])
def test_num_features_of_timm(name: str) -> None:
    model: Any = on_meta(timm_backbone, name)
    features = model(torch.empty(2, 3, 224, 224, device="meta"))
    assert features.shape == (2, model.num_features)


@pytest.mark.parametrize(
    "name", ["densenet121", "vit_b_16", "swin_t", "alexnet", "efficientnet_b0"]
)
def test_num_features_of_torchvision(name: str) -> None:
    model: Any = on_meta(torchvision_backbone, name)
    features = model(torch.empty(2, 3, 224, 224, device="meta"))
    assert features.shape == (2, model.num_features)


@pytest.mark.parametrize(
    "build",
    [
        ConvNet,
        SmallResNet,
        lambda: torchvision_backbone("resnet18", stem="cifar", width=0.25),
        lambda: torchvision_backbone("resnet50", width=0.25),
        lambda: timm_backbone("resnet18", stem="cifar", zero_init_last=False),
    ],
    ids=["convnet", "small_resnet", "resnet18", "resnet50", "timm"],
)
def test_every_parameter_learns(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = build()
    features = model(noise(4, 3, 32, 32))
    (features * noise(*features.shape, seed=1)).sum().backward()
    grads = {n: p.grad for n, p in model.named_parameters()}
    assert [n for n, g in grads.items() if g is None or not g.any() or not g.isfinite().all()] == []


# --- small nets ---------------------------------------------------------------------------------


def normed(x: Tensor) -> Tensor:
    """Batch norm as it starts: the batch's own statistics."""
    variance, average = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
    return (x - average) / (variance + 1e-5).sqrt()


def test_convnet_equals_loop() -> None:
    model = ConvNet(widths=(4, 6, 5), strides=(2, 1, 2)).double()
    images = noise(3, 3, 16, 16).double()
    x = images
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [4, 6, 5]
    for conv, stride in zip(convs, (2, 1, 2), strict=True):
        x = normed(functional.conv2d(x, conv.weight, stride=stride, padding=1)).relu()
    assert x.shape[2:] == (4, 4)
    torch.testing.assert_close(model(images), x.flatten(2).mean(dim=2))
    assert model.num_features == 5


def test_convnet_size() -> None:
    widths = (32, 64, 128, 128, 256)
    pairs = zip((3, *widths[:-1]), widths, strict=True)
    assert count(on_meta(ConvNet)) == sum(9 * a * b + 2 * b for a, b in pairs)


def test_convnet_lengths() -> None:
    with pytest.raises(UserError, match=r"widths=\[8, 16\] and strides=\[2\]"):
        ConvNet(widths=(8, 16), strides=(2,))


def test_small_resnet_equals_loop() -> None:
    model = SmallResNet(widths=(4, 6), depth=2).double()
    images = noise(3, 3, 8, 8).double()
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    stem, *rest = weights
    x = normed(functional.conv2d(images, stem, padding=1)).relu()
    for stride in (1, 1, 2, 1):
        first, second, rest = rest[0], rest[1], rest[2:]
        y = normed(functional.conv2d(x, first, stride=stride, padding=1)).relu()
        y = normed(functional.conv2d(y, second, padding=1))
        if stride == 2:  # the shortcut averages, then projects
            projection, rest = rest[0], rest[1:]
            x = normed(functional.conv2d(functional.avg_pool2d(x, 2), projection))
        x = (x + y).relu()
    assert rest == []
    assert x.shape == (3, 6, 4, 4)
    torch.testing.assert_close(model(images), x.mean(dim=(2, 3)))


def test_small_resnet_shapes() -> None:
    model = on_meta(SmallResNet)
    assert model.num_features == 320
    shapes: list[tuple[int, ...]] = []
    model.layers.register_forward_hook(lambda m, x, y: shapes.append(tuple(y.shape)))
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 320)
    assert shapes == [(2, 320, 4, 4)]
