"""ViTs of other repositories: their names, and the number of heads, which no shape tells."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from helpers.layouts import IMAGES, State, features, lightning, load, prefixed, resnet, some, vit
from helpers.networks import randomised
from helpers.tiers import only
from ssl_zoo.types import UserError


def tiny(**options: Any) -> nn.Module:
    made = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64, **options)
    return randomised(made)


@cache
def scaled() -> nn.Module:
    return tiny(init_values=1.0)


@cache
def registered() -> nn.Module:
    return tiny(init_values=1.0, reg_tokens=4, no_embed_class=True)


@cache
def without_class() -> nn.Module:
    return tiny(class_token=False, global_pool="avg", fc_norm=False)


@cache
def torchvisions(image_size: int = 64) -> nn.Module:
    network = randomised(torchvision.models.vit_b_32(image_size=image_size))
    network.heads = nn.Identity()
    return network


def dinov2(network: nn.Module) -> State:
    """The names of its repository, with the class token's position apart from the token."""
    state = dict(network.state_dict())
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
        first = torch.full_like(state["cls_token"], 0.25)
        state["cls_token"] = state["cls_token"] - first
        state["pos_embed"] = torch.cat([first, state["pos_embed"]], dim=1)
    return state | some("mask_token")


def chunked(state: State) -> State:
    """In training its blocks lie in chunks of six, numbered on."""

    def name(given: str) -> str:
        if not given.startswith("blocks."):
            return given
        return given.replace("blocks.", f"blocks.{int(given.split('.')[1]) // 6}.")

    return {name(n): v for n, v in state.items()}


def dinov2_training() -> Any:
    def all_of(network: State, who: str) -> State:
        heads = some(f"{who}.dino_head.mlp.0.weight", f"{who}.ibot_head.mlp.0.weight")
        return {f"{who}.backbone.{n}": v for n, v in network.items()} | heads

    own = chunked(dinov2(scaled()))
    copy = {name: value * 0 for name, value in own.items()}
    return {"model": all_of(copy, "student") | all_of(own, "teacher"), "iteration": 5}


def dinov2_teacher() -> Any:
    heads = some("dino_head.mlp.0.weight", "ibot_head.mlp.0.weight")
    return {"teacher": prefixed(scaled(), "module.backbone.") | heads}


def openmmlab() -> Any:
    names = (
        ("blocks.", "layers."),
        (".norm", ".ln"),
        ("mlp.fc1", "ffn.layers.0.0"),
        ("mlp.fc2", "ffn.layers.1"),
        ("patch_embed.proj", "patch_embed.projection"),
    )
    state = {}
    for name, value in vit().state_dict().items():
        for old, new in names:
            name = name.replace(old, new)
        state[f"backbone.{name.replace('norm.', 'ln1.')}"] = value
    return {"meta": {}, "state_dict": state | some("neck.fc0.weight")}


def ijepa() -> Any:
    return {
        "encoder": prefixed(without_class(), "module.") | some("module.x"),
        "predictor": some("module.predictor_blocks.0.norm1.weight"),
        "target_encoder": prefixed(without_class(), "module."),
        "epoch": 1,
    }


def mae() -> Any:
    decoder = some("mask_token", "decoder_blocks.0.norm1.weight", "decoder_pos_embed")
    return {"model": vit().state_dict() | decoder, "epoch": 1}


CASES: dict[str, tuple[Callable[[], Any], Callable[[], nn.Module], str]] = {
    "dinov2": (lambda: dinov2(scaled()), scaled, "a plain state dict"),
    "dinov2, registers": (lambda: dinov2(registered()), registered, "a plain state dict"),
    "dinov2, teacher": (dinov2_teacher, scaled, "DINOv2"),
    "dinov2, training": (dinov2_training, scaled, "DINOv2"),
    "openmmlab": (openmmlab, vit, "OpenMMLab"),
    "ijepa": (ijepa, without_class, "I-JEPA"),
    "mae": (mae, vit, "a plain state dict"),
    "torchvision": (lambda: torchvisions().state_dict(), torchvisions, "a plain state dict"),
    "torchvision, wrapped": (
        lambda: lightning(prefixed(torchvisions(), "model.") | some("model.heads.head.weight")),
        torchvisions,
        "a plain state dict",
    ),
}


@pytest.mark.parametrize("case", only(["dinov2, registers", "dinov2, training"], CASES))
def test_the_features_are_those_of_the_network(case: str, tmp_path: Path) -> None:
    make, network, name = CASES[case]
    loaded = load(make(), tmp_path)
    images = IMAGES.double()  # only the positions are interpolated in float32
    found, expected = (
        features(copy.deepcopy(one).double(), images) for one in (loaded.backbone, network())
    )
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-6)
    assert f"({name})" in loaded.report
    assert loaded.preprocess.image_size == 64


def test_the_heads_are_said_and_can_be_set(tmp_path: Path) -> None:
    content = {"state_dict": vit(num_heads=6).state_dict()}
    guessed = load(content, tmp_path)
    said = "3 heads as published for the width 192 (shapes do not tell: ckpt_heads= sets others)"
    assert said in guessed.report
    assert not torch.allclose(features(guessed.backbone), features(vit(num_heads=6)), atol=1e-3)
    loaded = load(content, tmp_path, ckpt_heads=6)
    assert torch.equal(features(loaded.backbone), features(vit(num_heads=6)))
    assert "6 heads by ckpt_heads=" in loaded.report


def sines(network: nn.Module) -> State:
    """Fixed positions: nothing at the class token."""
    state = dict(network.state_dict())
    state["pos_embed"] = state["pos_embed"].clone()
    state["pos_embed"][:, 0] = 0
    return state


def test_fixed_positions_are_those_of_vits_with_twelve_heads(tmp_path: Path) -> None:
    """MoCo v3's, and solo-learn's, of MoCo v3 and of MAE."""
    twelve = vit(num_heads=12)
    state = sines(twelve)
    loaded = load(state, tmp_path)
    assert "12 heads as in MoCo v3's ViT-S, whose fixed positions it has" in loaded.report
    expected = tiny(num_heads=12)
    expected.load_state_dict(state)
    assert torch.equal(features(loaded.backbone), features(expected))


@pytest.mark.parametrize(
    ("content", "heads", "said"),
    [
        (lambda: vit().state_dict(), 5, r"ckpt_heads=5: must divide 192, the width of \S+"),
        (lambda: vit().state_dict(), 0, "ckpt_heads=0: must divide 192"),
        (lambda: resnet().state_dict(), 3, r"ckpt_heads=3: .* is a ResNet, which has no heads"),
    ],
)
def test_heads_that_cannot_be(
    content: Callable[[], State], heads: int, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        load(content(), tmp_path, ckpt_heads=heads)


@pytest.mark.slow
def test_torchvisions_heads_are_its_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^ckpt_heads=6: torchvision's vit_b_32, in .*, has 12$"):
        load(torchvisions().state_dict(), tmp_path, ckpt_heads=6)
