"""Files in the layouts of other repositories, with random weights, give the same features."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from helpers.layouts import (
    CASES,
    backbone_state,
    cifar_resnet,
    features,
    lightning,
    load,
    moco_v2,
    plain,
    prefixed,
    resnet,
    some,
    training,
    wrong,
)
from helpers.tiers import every
from ssl_zoo import load_backbone
from ssl_zoo.checkpoints import build_backbone, load_pretrained
from ssl_zoo.types import UserError


@pytest.mark.parametrize("case", every(2, CASES))
def test_the_features_are_those_of_the_network(case: str, tmp_path: Path) -> None:
    make, network, name = CASES[case]
    path = tmp_path / "official.pth"
    torch.save(make(), path, _use_new_zipfile_serialization="old" not in case)
    loaded = load_pretrained(path)
    assert not loaded.backbone.training
    torch.testing.assert_close(features(loaded.backbone), features(network()), atol=1e-6, rtol=1e-6)
    assert f"official.pth ({name}): " in loaded.report
    again = build_backbone(loaded.config)
    again.load_state_dict(loaded.backbone.state_dict())
    assert torch.equal(features(again.eval()), features(loaded.backbone))


LAST = re.compile(r"(layer4|7|5)\.1\.bn2\.bias$|blocks\.11\.mlp\.fc2\.bias$|layer4\.2\.bn3\.bias$")


@pytest.mark.parametrize("case", every(3, CASES))
def test_a_missing_weight_of_the_backbone(case: str, tmp_path: Path) -> None:
    content = CASES[case][0]()
    state = backbone_state(content, case)
    own = [n for n in state if LAST.search(n) and not re.search("_k|momentum|student", n)]
    del state[own[-1]]
    torch.save(content, tmp_path / "official.pth")
    with pytest.raises(UserError, match=r"lacks 1 of the backbone's weights: \S+bias$") as error:
        load_backbone(tmp_path / "official.pth")
    assert "\n" not in str(error.value)


def test_the_report_groups_what_is_left_over(tmp_path: Path) -> None:
    report = load(moco_v2(), tmp_path).report
    count = len(resnet().state_dict())
    assert f"resnet18, {count} weights loaded, none missing" in report
    assert f"encoder_q.fc 2, encoder_k {count}, queue 1, and epoch, arch, optimizer" in report
    assert "\n" not in report


@pytest.mark.parametrize(
    ("case", "size", "mean"),
    [
        ("moco_v2", 224, 0.485),
        ("converted", 224, 0.485),  # just what torchvision's weights under state_dict are
        ("sthalles", 96, 0.0),
        ("supcon", 32, 0.4914),
        ("solo_cifar", 32, 0.4914),
        ("dino_vit", 64, 0.485),
    ],
)
def test_preprocessing_is_the_repositorys(
    case: str, size: int, mean: float, tmp_path: Path
) -> None:
    preprocess = load(CASES[case][0](), tmp_path).preprocess
    assert preprocess.image_size == size
    assert preprocess.mean.flatten()[0].item() == pytest.approx(mean)


def test_weights_converted_from_tensorflow_are_named_by_the_user(tmp_path: Path) -> None:
    content = CASES["converted"][0]()
    assert "ckpt_layout=simclr_converted" in load(content, tmp_path).report
    loaded = load(content, tmp_path, ckpt_layout="simclr_converted")
    assert "(SimCLR (converted))" in loaded.report
    assert not loaded.preprocess.mean.any()


def test_torchvisions_weights_are_normalised(tmp_path: Path) -> None:
    """Those that torchvision publishes have counters at 0 too."""
    state = {n: v * 0 if "num_batches" in n else v for n, v in plain(resnet()).items()}
    preprocess = load({"state_dict": state}, tmp_path).preprocess
    assert preprocess.mean.flatten()[0].item() == pytest.approx(0.485)


NOT_THEIRS = {
    # a Lightning module of anybody's: the heads of solo-learn are not all there
    "lightning": lambda: lightning(
        prefixed(cifar_resnet(), "backbone.") | some("classifier.weight")
    ),
    "lightning, encoder": lambda: lightning(
        prefixed(cifar_resnet(), "encoder.") | some("classifier.weight")
    ),
    # a training script's with torchvision's ResNet as `backbone`: sthalles' head is an MLP
    "a linear fc": lambda: training(
        prefixed(cifar_resnet(), "backbone.") | some("backbone.fc.weight")
    ),
    # an encoder and a head are SupCon's only beside its options
    "a head": lambda: {"model": prefixed(cifar_resnet(), "encoder.") | some("head.weight")},
}


@pytest.mark.parametrize("case", every(3, NOT_THEIRS))
def test_a_program_is_told_by_what_only_it_writes(case: str, tmp_path: Path) -> None:
    loaded = load(NOT_THEIRS[case](), tmp_path)
    assert torch.equal(features(loaded.backbone), features(cifar_resnet()))
    assert loaded.preprocess.mean.flatten()[0].item() == pytest.approx(0.485)
    assert loaded.preprocess.image_size == 32
    assert "(a plain state dict)" in loaded.report
    assert "a 3x3 stem that pads by 1" in loaded.report


@pytest.mark.parametrize("prefix", ["backbone.", "encoder."])
def test_settings_that_solo_learn_does_not_save(prefix: str, tmp_path: Path) -> None:
    """A Lightning module of one's own with the same heads, which calls save_hyperparameters."""
    heads = some("classifier.weight", "projector.0.weight")
    content = lightning(prefixed(cifar_resnet(), prefix) | heads)
    content["hyper_parameters"] = {"lr": 0.1}
    said = r"pads by 2 if .*: give ckpt_layout=solo_learn or ckpt_layout=plain$"
    with pytest.raises(UserError, match=said):
        load(content, tmp_path)
    loaded = load(content, tmp_path, ckpt_layout="plain")
    assert torch.equal(features(loaded.backbone), features(cifar_resnet()))
    assert "shapes do not tell: ckpt_layout=solo_learn pads by 2" in loaded.report


def test_the_layout_can_be_said(tmp_path: Path) -> None:
    own = cifar_resnet(padding=2)
    content = NOT_THEIRS["lightning"]()
    content["state_dict"] |= prefixed(own, "backbone.")
    loaded = load(content, tmp_path, ckpt_layout="solo_learn")
    assert torch.equal(features(loaded.backbone), features(own))
    assert "pads by 2" in loaded.report
    assert "layout by ckpt_layout=solo_learn" in loaded.report
    bare_file = content["state_dict"] | some("projector.0.weight")
    loaded = load(bare_file, tmp_path, ckpt_layout="plain")
    assert torch.equal(features(loaded.backbone), features(cifar_resnet()))
    with pytest.raises(UserError, match=r"^ckpt_layout=solo: must be one of openmmlab, .*, plain$"):
        load(content, tmp_path, ckpt_layout="solo")


def test_a_momentum_copy_of_solo_learns_is_solo_learns(tmp_path: Path) -> None:
    own = cifar_resnet(padding=2)
    heads = some("classifier.weight", "projector.0.weight")
    state = wrong(own, "backbone.") | prefixed(own, "momentum_backbone.") | heads
    loaded = load(lightning(state), tmp_path, ckpt_prefix="momentum_backbone")
    assert torch.equal(features(loaded.backbone), features(own))
    assert "backbone 120" in loaded.report
