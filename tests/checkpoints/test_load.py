"""load_backbone gives the backbone of the run that it is handed; each source is read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ssl_zoo
from helpers.command_line import command_line
from helpers.configs import TINY
from helpers.tiers import every
from ssl_zoo.backbones import torchvision_backbone
from ssl_zoo.checkpoints import open_source
from ssl_zoo.checkpoints.export import export
from ssl_zoo.types import UserError


def test_load_backbone_gives_the_features_of_the_trained_module(trained: Path) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8))
    checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    preprocess = checkpoint["ssl_zoo"]["preprocess"]
    with command_line("train", *TINY, f"run_dir={trained}") as cfg:
        module = ssl_zoo.config.instantiate(cfg.method.module)
    module.load_state_dict(checkpoint["state_dict"])
    mean, std = (torch.tensor(preprocess[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        expected = module.eval()((images.float() / 255 - mean) / std)
    for source in (trained, str(trained), trained / "checkpoints" / "best.ckpt"):
        backbone, prepare = ssl_zoo.load_backbone(source)
        assert not backbone.training
        with torch.inference_mode():
            torch.testing.assert_close(backbone(prepare(images)), expected)
    larger = torch.nn.functional.interpolate(images, size=(64, 64), mode="nearest")
    assert backbone(prepare(larger)).shape == (5, backbone.num_features) == (5, 16)


@pytest.mark.parametrize("features", ["auto", "representation", "embedding"])
def test_a_checkpoint_is_read_once(
    features: str, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    monkeypatch.setattr(torch, "load", counted(torch.load, read))
    source = open_source(str(trained), features)
    assert [file.name for file in read] == [str(trained / "checkpoints" / "last.ckpt")]
    assert source.pretrained is not None
    assert source.extras == source.pretrained.run


def counted(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(args[0])
        return function(*args, **kwargs)

    return call


@pytest.mark.slow
def test_an_onnx_file_makes_one_session(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One where it is loaded; one where the exporter reads it back."""
    onnxruntime = pytest.importorskip("onnxruntime")
    sessions: list[object] = []
    session = counted(onnxruntime.InferenceSession, sessions)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    out = tmp_path / "out.onnx"
    export(trained, "onnx", out)
    assert len(sessions) == 1
    source = open_source(str(out), "auto")
    assert sessions[1:] == [out]
    assert source.pretrained is not None
    assert source.pretrained.backbone(torch.rand(2, 3, 32, 32)).shape == (2, 16)
    assert source.extras is None
    assert source.output == "representation"


@pytest.mark.parametrize("kind", every(4, ["safetensors", "torchvision", "torchscript", "library"]))
def test_only_runs_have_an_embedding(kind: str, tmp_path: Path) -> None:
    source = "torchvision:resnet18"
    if kind != "library":
        network = torchvision_backbone("resnet18")
        torch.save(network.state_dict(), tmp_path / "in.pth")
        source = str(tmp_path / f"out{'.safetensors' if kind == 'safetensors' else '.pt'}")
        export(tmp_path / "in.pth", kind, Path(source))
    with pytest.raises(UserError, match=r"has no embedding: only runs of ssl_zoo keep their"):
        open_source(source, "embedding")
    with pytest.raises(UserError, match="features=both: give auto, representation or embedding"):
        open_source(source, "both")
