"""Files in no known layout, or with useless weights, are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.layouts import (
    bare,
    cifar_resnet,
    load,
    plain,
    prefixed,
    resnet,
    solo_cifar,
    some,
    training,
    vit,
)
from ssl_zoo.types import UserError


def refused(content: Any, tmp_path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        load(content, tmp_path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "official.pth"))


def test_an_unknown_layout(tmp_path: Path) -> None:
    content = {"weights": some("a.b"), "step": 1}
    refused(
        content,
        tmp_path,
        r"begins with weights, step\): known are BYOL, .*lightly.*; its tensors are weights\.a\.b$",
    )


def test_a_bare_state_dict_that_could_be_solo_learns(tmp_path: Path) -> None:
    """Its 3x3 stem pads otherwise than VICReg's names would say."""
    state = bare(solo_cifar(), "state_dict")
    heads = {name: value for name, value in state.items() if not name.startswith("encoder.")}
    said = "its layout is unknown: its 3x3 stem pads by 2 if .*: give ckpt_layout=solo_learn or"
    refused(prefixed(cifar_resnet(), "backbone.") | heads, tmp_path, said)


def test_keys_do_not_reach_the_terminal(tmp_path: Path) -> None:
    nested: Any = ()
    for _ in range(22):
        nested = (nested, nested)  # its text would have 29 million characters
    content = {nested: 1, "a\n\x1b[2J\u202e": 2, "b" * 50: 3}
    first = r"begins with tuple, a\\n\\x1b\[2J\\u202e, b{40}\): known"
    refused(content, tmp_path, first)
    report = load(training(plain(resnet())) | {nested: 1, "\x1b": 2}, tmp_path).report
    assert "optimizer, tuple, \\x1b; images" in report
    state = resnet().state_dict()
    assert "left over: \\n\\x1b 1;" in load(state | some("\n\x1b.a"), tmp_path).report
    refused(state | some("layer1.\n\x1b"), tmp_path, r"it has layer1\.\\n\\x1b besides")


USELESS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "nan": (lambda w: w * torch.nan, "holds NaN or infinite numbers"),
    "infinite": (lambda w: w + torch.inf, "holds NaN or infinite numbers"),
    "complex": (lambda w: w + 0j, "holds complex64 numbers where float32 was expected"),
    "integer": (lambda w: w.long(), "holds int64 numbers where float32 was expected"),
    "bool": (lambda w: w > 0, "holds bool numbers where float32 was expected"),
    "sparse": (lambda w: w.to_sparse(), "is not a plain tensor of the file"),
    "meta": (lambda w: w.to("meta"), "is not a plain tensor of the file"),
}


@pytest.mark.parametrize("what", USELESS)
def test_useless_weights(what: str, tmp_path: Path) -> None:
    change, said = USELESS[what]
    state = resnet().state_dict()
    state["layer3.0.bn1.weight"] = change(state["layer3.0.bn1.weight"])
    refused(state, tmp_path, rf"layer3\.0\.bn1\.weight {said}$")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:TypedStorage is deprecated")
def test_quantized_weights(tmp_path: Path) -> None:
    state = resnet().state_dict()
    state["conv1.weight"] = torch.quantize_per_tensor(state["conv1.weight"], 0.1, 0, torch.qint8)
    refused(state, tmp_path, r"conv1\.weight is not a plain tensor of the file$")


def test_halves_and_averaged_counters_load(tmp_path: Path) -> None:
    state = {name: value.half() for name, value in resnet().state_dict().items()}
    weights = load(state, tmp_path).backbone.state_dict()
    assert weights["bn1.num_batches_tracked"] == 7
    assert torch.equal(weights["conv1.weight"], state["conv1.weight"].float())


@pytest.mark.parametrize("change", ["depth", "width", "stem", "block", "more"])
def test_another_resnet(change: str, tmp_path: Path) -> None:
    state = resnet().state_dict()
    if change == "depth":
        state = {name: v for name, v in state.items() if not name.startswith("layer3.1.")}
    elif change == "width":
        state["conv1.weight"] = torch.ones(6400, 3, 7, 7)
    elif change == "stem":
        state["conv1.weight"] = torch.ones(16, 3, 5, 5)
    elif change == "block":
        state["layer1.0.conv1.weight"] = torch.ones(32, 16, 3, 3)
    else:
        state["layer1.0.se.fc.weight"] = torch.ones(3, 3)
    refused(state, tmp_path, "is not a known architecture: ")


@pytest.mark.parametrize("more", ["attnpool.positional_embedding", "conv2.weight", "bn2.bias"])
def test_a_resnet_with_more_than_heads(more: str, tmp_path: Path) -> None:
    """CLIP's, whose stem has three convolutions and whose pooling is attention."""
    refused(resnet().state_dict() | some(more), tmp_path, f"it has {more} besides$")


def test_a_vit_that_pools_by_attention(tmp_path: Path) -> None:
    state = vit().state_dict() | some("attn_pool.latent", "head.weight")
    refused(state, tmp_path, r"is not a known architecture: it has attn_pool\.latent besides$")


@pytest.mark.parametrize("stages", [r"layers.{}.blocks.0.norm1", r"stages.{}.blocks.0.norm1"])
def test_stages_are_not_backbones(stages: str, tmp_path: Path) -> None:
    """Swin and ResNet-v2 have parts that look like a ViT's blocks."""
    state = some(*[f"{stages.format(i)}.weight" for i in range(4)])
    refused(state, tmp_path, "its layout is unknown")


def test_one_tensor(tmp_path: Path) -> None:
    refused(torch.ones(3), tmp_path, "its tensors are one without a name$")


@pytest.mark.parametrize("change", ["width", "tokens", "depth", "scale"])
def test_another_vit(change: str, tmp_path: Path) -> None:
    state = vit().state_dict()
    if change == "width":
        state["patch_embed.proj.weight"] = torch.ones(200, 3, 16, 16)
    elif change == "tokens":  # a distillation token
        state["pos_embed"] = torch.ones(1, 18, 192)
    elif change == "depth":
        state["blocks.12.norm1.weight"] = torch.ones(192)
    else:  # DINOv2
        state["blocks.0.ls1.gamma"] = torch.ones(192)
    refused(state, tmp_path, "is not a known architecture: ")


def test_a_tensor_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    state = resnet().state_dict()
    state["conv1.weight"] = torch.ones(1).expand(16, 3, 7, 7)
    refused(state, tmp_path, "conv1.weight is not a plain tensor of the file")
