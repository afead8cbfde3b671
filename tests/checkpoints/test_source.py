"""The kind of a source, told before anything of it is loaded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from helpers.networks import randomised
from ssl_zoo import load_backbone
from ssl_zoo.backbones import ConvNet, torchvision_backbone
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


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx", ".SAFETENSORS"])
def test_contents_count_and_not_the_suffix(suffix: str, tmp_path: Path) -> None:
    weights = torchvision_backbone("resnet18", width=0.25).state_dict()
    path = tmp_path / f"file{suffix}"
    for save, kind in ((torch.save, "checkpoint"), (save_file, "safetensors")):
        save(weights, path)
        assert identify(path) == kind
        load_backbone(path)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://a.org/b.pth", r"^https://a\.org/b\.pth is an address: download it and give the"),
        ("hf://timm/resnet50", r"^hf://timm/resnet50 is an address"),
        ("~nobody_at_all/b.pth", r"^~nobody_at_all/b\.pth does not exist"),
        ("resnet50", r"does not exist: .* \(or torchvision:NAME, timm:NAME\)$"),
        ({"conv1.weight": 1}, r"^a source of type dict is not read: give a run folder or a file"),
        (b"a.pth", r"^a source of type bytes is not read"),
    ],
)
def test_what_is_no_file(source: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        load_backbone(source)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoints/epoch=1.ckpt"])
def test_another_programs_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"last.ckpt: give one of its files: {name}$"):
        load_backbone(tmp_path)
