"""Protocols that train the backbone refuse ONNX and TorchScript files; hints reach evaluate.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.networks import randomised
from helpers.programs import run_evaluate
from helpers.tiers import only
from ssl_zoo.backbones import timm_backbone, torchvision_backbone
from ssl_zoo.checkpoints.export import export
from ssl_zoo.types import UserError

DATA = ["dataset=shapes", "dataset.splits.num_train=60", "dataset.splits.num_test=20"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "thin.pth"
    torch.save(randomised(torchvision_backbone("resnet18", "cifar", width=0.25)).state_dict(), path)
    return path


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("format", ["torchscript", pytest.param("onnx", marks=pytest.mark.slow)])
@pytest.mark.parametrize("protocol", only(["finetune"], ["finetune", "detection"]))
def test_a_program_is_not_trained(
    protocol: str, format: str, weights: Path, tmp_path: Path
) -> None:
    program = tmp_path / ("a.onnx" if format == "onnx" else "a.pt")
    export(weights, format, program)
    own = [f"protocol.detection.root={tmp_path}"] if protocol == "detection" else []
    said = (
        rf"^protocol={protocol} trains the backbone, and {program} is a program \(ONNX or "
        "TorchScript\\), whose weights are fixed: give the run or the file that it was made from$"
    )
    with pytest.raises(UserError, match=said):
        run_evaluate(f"ckpt={program}", f"protocol={protocol}", *own, *DATA)
    assert {path.name for path in tmp_path.iterdir()} == {program.name}


def test_hints_reach_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="ssl_zoo")
    network = timm_backbone("vit_tiny_patch16_224", img_size=32, depth=12)
    copy = {f"b.{n}": v * 0 for n, v in network.state_dict().items()}
    torch.save({f"a.{n}": v for n, v in network.state_dict().items()} | copy, tmp_path / "v.pth")
    small = [*DATA, "baselines=false", "protocol=knn"]
    with pytest.raises(UserError, match=r"choose one by ckpt_prefix=a$"):
        run_evaluate(f"ckpt={tmp_path}/v.pth", *small)
    run_evaluate(f"ckpt={tmp_path}/v.pth", "ckpt_prefix=a", "ckpt_heads=6", *small)
    assert "backbone taken from a. by ckpt_prefix=a; 6 heads by ckpt_heads=" in caplog.text
    with pytest.raises(UserError, match=r"^ckpt_heads=6\.5: give a whole number$"):
        run_evaluate(f"ckpt={tmp_path}/v.pth", "ckpt_heads=6.5", *small)
