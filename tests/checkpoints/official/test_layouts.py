"""Files in the layouts of other repositories, with random weights, give the same features."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from helpers.layouts import CASES, backbone_state, features, load, moco_v2, resnet
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
        ("converted", 224, 0.0),
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
