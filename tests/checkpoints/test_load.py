"""load_backbone gives the backbone of the run that it is handed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import ssl_zoo
from helpers.command_line import command_line
from helpers.configs import TINY


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
