"""Weights of torchvision and timm: from the cache, and one line where they cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision

from helpers.networks import randomised
from ssl_zoo import load_backbone
from ssl_zoo.checkpoints import build_backbone, load_pretrained
from ssl_zoo.types import UserError


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and no way out."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_torchvisions_weights_from_the_cache(offline: Path) -> None:
    network = randomised(torchvision.models.resnet18()).eval()
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    folder = offline / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / weights.url.rpartition("/")[2])
    images = torch.randint(0, 256, (2, 3, 300, 260), dtype=torch.uint8)
    network.fc = torch.nn.Identity()
    for source in ("torchvision:resnet18", "torchvision:resnet18:IMAGENET1K_V1"):
        loaded = load_pretrained(source)
        prepared = loaded.preprocess(images)
        expected = weights.transforms(antialias=True)(images)
        torch.testing.assert_close(prepared, expected, atol=0.02, rtol=0)
        with torch.inference_mode():
            assert torch.equal(loaded.backbone(prepared), network(prepared))
        assert not loaded.backbone.training
    untrained = build_backbone(loaded.config or {})
    assert not torch.equal(untrained.conv1.weight, network.conv1.weight)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("torchvision:resnet18", "its weights could not be downloaded"),
        ("torchvision:resnet18:BEST", "weights=BEST: must be one of resnet18's: IMAGENET1K_V1"),
        ("torchvision:resnet1", "name=resnet1: must be a classifier of torchvision"),
        ("timm:resnet10t", "its weights could not be downloaded"),
        ("timm:resnet1", "^timm:resnet1 is not a timm model; near: ecaresnet101d, "),
        ("timm:hf-hub:foo/bar", "^timm:hf-hub:foo/bar is not a timm model$"),
        ("", "^the checkpoint has no name: give a run folder or a checkpoint file$"),
        ("random", "^random is only for evaluate.py's ckpt=: give a run folder or a file$"),
        ("timm:vit_tiny_patch16_384.none", r"Invalid pretrained tag \(none\)"),
    ],
)
def test_weights_that_cannot_be_had(offline: Path, source: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        load_backbone(source)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_hub_says_nothing_of_its_retries(
    offline: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(UserError, match="its weights could not be downloaded"):
        load_backbone("timm:resnet10t")
    assert not caplog.records


def test_a_timm_model_without_weights() -> None:
    name = next(m for m in timm.list_models() if not timm.list_pretrained(m) and "resnet" in m)
    with pytest.raises(UserError, match=f"timm:{name} has no pretrained weights"):
        load_backbone(f"timm:{name}")
