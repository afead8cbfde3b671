"""Checkpoints in the layouts of other repositories, with random weights."""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from helpers.networks import randomised
from ssl_zoo.backbones import torchvision_backbone
from ssl_zoo.checkpoints import Hints, Loaded, load_pretrained

State = dict[str, Tensor]

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@cache
def resnet(name: str = "thin") -> nn.Module:
    """A network of torchvision; "thin" has a quarter of its channels."""
    if name.startswith("thin"):
        return randomised(torchvision_backbone(f"resnet{name[4:] or 18}", width=0.25))
    network = randomised(torchvision.models.get_model(name))
    network.fc = nn.Identity()
    return network


@cache
def cifar_resnet(padding: int = 1) -> nn.Module:
    network = torchvision_backbone("resnet18", width=0.25)
    network.conv1 = nn.Conv2d(3, 16, 3, stride=1, padding=padding, bias=False)
    network.maxpool = nn.Identity()
    return randomised(network)


@cache
def vit(num_heads: int = 3, patch: int = 16) -> nn.Module:
    return randomised(
        timm.create_model(
            "vit_tiny_patch16_224",
            num_classes=0,
            img_size=64,
            patch_size=patch,
            num_heads=num_heads,
        )
    )


def prefixed(network: nn.Module, prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in network.state_dict().items()}


def some(*names: str) -> State:
    """Weights of heads, queues and momentum copies; what they hold is never looked at."""
    return {name: torch.ones(3, 3) for name in names}


def wrong(network: nn.Module, prefix: str) -> State:
    """A copy of other weights, which must not be the one that is loaded."""
    return {name: value * 0 - 1 for name, value in prefixed(network, prefix).items()}


def bare(content: Any, key: str) -> State:
    """The weights alone, without the wrapper's prefix."""
    return {name.removeprefix("module."): value for name, value in content[key].items()}


def stripped() -> State:
    """The online encoder of MoCo and nothing else."""
    state = bare(moco_v2(), "state_dict")
    return {name: value for name, value in state.items() if name.startswith("encoder_q.")}


def training(state: State, **others: Any) -> dict[str, Any]:
    return {"epoch": 200, "arch": "resnet18", "state_dict": state, "optimizer": {}, **others}


def lightning(state: State) -> dict[str, Any]:
    return {"pytorch-lightning_version": "1.5.1", "state_dict": state, "epoch": 1, "callbacks": {}}


def moco_v1() -> Any:
    heads = some("module.encoder_q.fc.weight", "module.queue", "module.queue_ptr")
    own = prefixed(resnet(), "module.encoder_q.")
    return training(own | wrong(resnet(), "module.encoder_k.") | heads)


def moco_v2() -> Any:
    heads = some("module.encoder_q.fc.0.weight", "module.encoder_q.fc.2.bias", "module.queue")
    own = prefixed(resnet(), "module.encoder_q.")
    return training(own | wrong(resnet(), "module.encoder_k.") | heads)


def mlp(*widths: int, norm: bool = True, bias: bool = False, last: str = "") -> nn.Module:
    """Linear layers with ReLUs between them; `last` is the norm at the end, plain or affine."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(a, b, bias=bias))
        if i < len(widths) - 2:
            layers += [nn.BatchNorm1d(b)] * norm + [nn.ReLU()]
        elif last:
            layers.append(nn.BatchNorm1d(b, affine=last == "affine"))
    return nn.Sequential(*layers)


def moco_v3(network: nn.Module, head: str) -> Any:
    """A ResNet's projector has two layers and its predictor no norm at the end, unlike a ViT's."""
    dim, hidden = (128, (24,)) if head == "fc" else (192, (24, 24))
    predictor = mlp(16, 24, 16, last="" if head == "fc" else "plain")
    state = prefixed(network, "module.base_encoder.") | wrong(network, "module.momentum_encoder.")
    for encoder in ("base_encoder", "momentum_encoder"):
        state |= prefixed(mlp(dim, *hidden, 16, last="plain"), f"module.{encoder}.{head}.")
    return training(state | prefixed(predictor, "module.predictor."), scaler={})


@cache
def moco_v3_vit() -> nn.Module:
    network = vit(num_heads=12)
    network.pos_embed.data[:, 0] = 0  # sines and cosines, and nothing at the class token
    return network


def simsiam() -> Any:
    names = [f"module.encoder.fc.{i}.weight" for i in (0, 1, 3, 4, 6)]
    heads = some(*names, "module.predictor.0.weight", "module.encoder.fc.6.bias")
    return training(prefixed(resnet(), "module.encoder.") | heads)


def supcon(prefix: str) -> Any:
    state = {
        name.replace("downsample", "shortcut"): value
        for name, value in prefixed(cifar_resnet(), prefix).items()
    }
    head = prefixed(mlp(128, 128, 16, norm=False, bias=True), "head.")  # beside the wrapper's names
    return {"opt": argparse.Namespace(), "model": state | head, "optimizer": {}, "epoch": 1}


@cache
def swav_heads() -> nn.Module:
    """With the names and shapes of src/resnet50.py."""
    heads = nn.Module()
    layers = [nn.Linear(128, 2048), nn.BatchNorm1d(2048), nn.ReLU(), nn.Linear(2048, 128)]
    heads.projection_head = nn.Sequential(*layers)
    heads.prototypes = nn.Linear(128, 3000, bias=False)
    return heads


def swav() -> Any:
    return prefixed(resnet(), "module.") | prefixed(swav_heads(), "module.")


def swav_training() -> Any:
    return {"epoch": 800, "state_dict": swav(), "optimizer": {}, "amp": {}}


def three_layers(bias: bool) -> State:
    """Barlow Twins' projector, and VICReg's, whose hidden layers have biases."""
    widths = [(128, 16), (16, 16), (16, 16)]
    layers: list[nn.Module] = []
    for n_in, n_out in widths[:-1]:
        layers += [nn.Linear(n_in, n_out, bias=bias), nn.BatchNorm1d(n_out), nn.ReLU()]
    return prefixed(nn.Sequential(*layers, nn.Linear(*widths[-1], bias=False)), "module.projector.")


def barlow_full() -> Any:
    heads = three_layers(bias=False) | prefixed(nn.BatchNorm1d(16, affine=False), "module.bn.")
    return {"epoch": 1, "model": prefixed(resnet(), "module.backbone.") | heads, "optimizer": {}}


def vicreg_full() -> Any:
    model = prefixed(resnet(), "module.backbone.") | three_layers(bias=True)
    return {"epoch": 1, "model": model, "optimizer": {}}


def dino(network: nn.Module, wrapper: str) -> Any:
    return {
        "student": wrong(network, "module.backbone.") | some("module.head.mlp.0.weight"),
        "teacher": prefixed(network, f"{wrapper}backbone.") | some(f"{wrapper}head.mlp.0.weight"),
        "args": argparse.Namespace(arch="vit_small", lr=0.1),
        "epoch": 1,
        "optimizer": {},
        "dino_loss": some("center"),
    }


def sthalles() -> Any:
    return training(prefixed(resnet(), "backbone.") | some("backbone.fc.0.weight"))


def numbered(network: nn.Module, prefix: str) -> State:
    """As torch names the parts of nn.Sequential(*network.children())."""
    children = [name for name, _ in network.named_children()]
    return {
        f"{prefix}{children.index(name.split('.')[0])}.{name.partition('.')[2]}": value
        for name, value in network.state_dict().items()
    }


def sthalles_2020() -> Any:
    return numbered(resnet(), "features.") | some("l1.weight", "l1.bias", "l2.weight")


def converted_simclr() -> Any:
    state = resnet().state_dict() | some("fc.weight", "fc.bias")
    fresh = {n: v * 0 if n.endswith("num_batches_tracked") else v for n, v in state.items()}
    return {"state_dict": fresh}


def solo() -> Any:
    heads = some("classifier.weight", "projector.0.weight", "momentum_projector.0.weight")
    copy = wrong(resnet(), "momentum_backbone.")
    return lightning(prefixed(resnet(), "backbone.") | copy | heads)


def solo_cifar() -> Any:
    heads = some("classifier.weight", "projector.0.weight")
    return lightning(prefixed(cifar_resnet(padding=2), "encoder.") | heads)


def solo_nnclr() -> Any:
    """With its predictor and its queue: there is no official code."""
    projector = prefixed(mlp(128, 24, 24, 16, bias=True, last="affine"), "projector.")
    predictor = prefixed(mlp(16, 24, 16, bias=True), "predictor.")
    queue = {"queue": torch.randn(8, 16), "queue_y": torch.zeros(8), "queue_ptr": torch.zeros(1)}
    own = prefixed(resnet(), "backbone.") | some("classifier.weight", "classifier.bias")
    return lightning(own | projector | predictor | queue)


def lightly() -> Any:
    heads = some("projection_head.layers.0.weight", "online_classifier.linear.weight")
    copy = wrong(resnet(), "student_backbone.")
    return lightning(prefixed(resnet(), "backbone.") | copy | heads)


def lightly_sequential() -> Any:
    heads = some("projection_head.layers.0.weight", "prediction_head.layers.0.weight")
    copy = {name: v * 0 for name, v in numbered(resnet(), "backbone_momentum.").items()}
    return lightning(numbered(resnet(), "backbone.") | copy | heads)


class LightlyResNet(nn.Module):
    """Its own network, taken apart: what its forward does between the children is lost."""

    def __init__(self) -> None:
        super().__init__()
        whole = cifar_resnet()
        parts = [whole.conv1, whole.bn1, whole.layer1, whole.layer2, whole.layer3, whole.layer4]
        self.backbone = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x).flatten(1)


def lightly_own() -> Any:
    state = LightlyResNet().state_dict()
    own = {name.replace("downsample", "shortcut"): value for name, value in state.items()}
    return lightning(own | some("projection_head.layers.0.weight"))


def plain(network: nn.Module) -> Any:
    return network.state_dict() | some("fc.weight", "fc.bias")


def before_counters() -> Any:
    state = resnet().state_dict()
    return {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}


# name -> (what is in the file, the network, what the report calls it)
CASES: dict[str, tuple[Callable[[], Any], Callable[[], nn.Module], str]] = {
    "moco_v1": (moco_v1, resnet, "MoCo v1/v2"),
    "moco_v2": (moco_v2, resnet, "MoCo v1/v2"),
    "moco_v2_bare": (lambda: bare(moco_v2(), "state_dict"), resnet, "MoCo v1/v2"),
    "moco_stripped": (stripped, resnet, "MoCo v1/v2"),
    "moco_stripped_wrapped": (lambda: training(stripped()), resnet, "MoCo v1/v2"),
    "moco_v3_bare": (lambda: bare(moco_v3(resnet(), "fc"), "state_dict"), resnet, "MoCo v3"),
    "simsiam_bare": (lambda: bare(simsiam(), "state_dict"), resnet, "SimSiam"),
    "barlow_bare": (lambda: bare(barlow_full(), "model"), resnet, "Barlow Twins"),
    "vicreg_bare": (lambda: bare(vicreg_full(), "model"), resnet, "VICReg"),
    "moco_v3": (lambda: moco_v3(resnet(), "fc"), resnet, "MoCo v3"),
    "moco_v3_vit": (lambda: moco_v3(moco_v3_vit(), "head"), moco_v3_vit, "MoCo v3"),
    "simsiam": (simsiam, resnet, "SimSiam"),
    "supcon": (lambda: supcon("encoder."), cifar_resnet, "SupCon"),
    "supcon_parallel": (lambda: supcon("encoder.module."), cifar_resnet, "SupCon"),
    "swav": (swav, resnet, "SwAV"),
    "swav_training": (swav_training, resnet, "SwAV"),
    "barlow": (lambda: resnet().state_dict(), resnet, "a plain state dict"),
    "barlow_full": (barlow_full, resnet, "Barlow Twins"),
    "vicreg_full": (vicreg_full, resnet, "VICReg"),
    "dino_vit": (lambda: dino(vit(), ""), vit, "DINO"),
    "dino_resnet": (lambda: dino(resnet(), "module."), resnet, "DINO"),
    "dino_patch8": (lambda: vit(patch=8).state_dict(), lambda: vit(patch=8), "a plain state dict"),
    "sthalles": (sthalles, resnet, "SimCLR (sthalles)"),
    "sthalles_2020": (sthalles_2020, resnet, "SimCLR (sthalles, 2020)"),
    "converted": (converted_simclr, resnet, "a plain state dict"),
    "solo": (solo, resnet, "solo-learn"),
    "solo_nnclr": (solo_nnclr, resnet, "solo-learn"),
    "solo_cifar": (solo_cifar, lambda: cifar_resnet(padding=2), "solo-learn (2021)"),
    "lightly": (lightly, resnet, "lightly"),
    "lightly_sequential": (lightly_sequential, resnet, "lightly"),
    "lightly_own": (lightly_own, lambda: LightlyResNet().eval(), "lightly"),
    "resnet18": (
        lambda: plain(resnet("resnet18")),
        lambda: resnet("resnet18"),
        "a plain state dict",
    ),
    "bottlenecks": (
        lambda: plain(resnet("thin50")),
        lambda: resnet("thin50"),
        "a plain state dict",
    ),
    "timm": (lambda: {"model": vit().state_dict()}, vit, "a plain state dict"),
    "old_torch": (before_counters, resnet, "a plain state dict"),
}


def features(network: nn.Module, images: Tensor = IMAGES) -> Tensor:
    with torch.inference_mode():
        return network(images)


def backbone_state(content: Any, case: str) -> State:
    """The dict of the file in which the backbone's weights lie."""
    if case.startswith("dino") and "teacher" in content:
        return content["teacher"]
    return content.get("state_dict", content.get("model", content))


def load(content: Any, tmp_path: Path, **hints: Any) -> Loaded:
    torch.save(content, tmp_path / "official.pth")
    return load_pretrained(tmp_path / "official.pth", hints=Hints(**hints))


def install(module: types.ModuleType, thing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a class importable from a module that is not there."""
    thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
    setattr(module, thing.__name__, thing)
    parts = module.__name__.split(".")
    for i in range(1, len(parts)):
        parent = ".".join(parts[:i])
        if parent not in sys.modules:
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, module.__name__, module)
