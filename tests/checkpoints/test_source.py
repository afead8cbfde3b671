"""The kind of a source, told before anything of it is loaded."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from helpers.networks import randomised
from ssl_zoo.backbones import ConvNet
from ssl_zoo.checkpoints import find_checkpoint, identify
from ssl_zoo.checkpoints.export import export
from ssl_zoo.types import UserError


def test_by_prefix_and_ending(tmp_path: Path) -> None:
    assert identify("torchvision:resnet18") == "library"
    assert identify("timm:vit_tiny_patch16_224.augreg_in21k") == "library"
    for name, kind in (("a.onnx", "onnx"), ("a.safetensors", "safetensors")):
        (tmp_path / name).write_bytes(b"")
        assert identify(tmp_path / name) == kind


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_by_what_is_in_it(run: Path, tmp_path: Path) -> None:
    assert identify(run) == identify(run / "checkpoints" / "best.ckpt") == "checkpoint"
    export(run, "torchscript", tmp_path / "ours.pth")
    assert identify(tmp_path / "ours.pth") == "torchscript"
    torch.jit.trace(randomised(ConvNet()).eval(), torch.rand(1, 3, 8, 8)).save(tmp_path / "b.pth")
    assert identify(tmp_path / "b.pth") == "checkpoint", "a program without our description"
    (tmp_path / "c.pth").write_bytes(pickle.dumps({}))
    assert identify(tmp_path / "c.pth") == "checkpoint"
    (tmp_path / "d.pth").write_bytes((tmp_path / "ours.pth").read_bytes()[:2000])
    assert identify(tmp_path / "d.pth") == "checkpoint", "a zip that is cut short"


def test_the_best_where_there_is_no_last(run: Path) -> None:
    assert find_checkpoint(run) == run / "checkpoints" / "last.ckpt"
    (run / "checkpoints" / "last.ckpt").unlink()
    assert find_checkpoint(run) == run / "checkpoints" / "best.ckpt"
    (run / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(UserError, match=r"holds no checkpoints/last\.ckpt"):
        identify(run)
