"""Collapses that papers report are told, in real runs; healthy runs are not called collapsed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.configs import Make
from ssl_zoo.data.datasets.drawn_shapes import draw_shapes
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train

pytestmark = pytest.mark.slow

# 10 steps an epoch; 22 epochs pass the 200 steps before which nothing is told
SHORT = [
    *("dataset.splits.num_train=720", "dataset.splits.num_test=20", "name=test", "epochs=22"),
    *("backbone.widths=[8,16,32]", "backbone.strides=[2,2,2]", "precision=32-true"),
    *("monitor.every_n_epochs=22", "~callbacks.linear_probe"),
]
FAILURES = {
    "SimSiam without stop-gradient": [
        *("experiment=simsiam_quick", "ablation=simsiam_no_stop_gradient")
    ],
    "SimSiam without predictor": ["experiment=simsiam_quick", "ablation=simsiam_predictor_none"],
    "BYOL without predictor": ["experiment=byol_quick", "method/predictor=none"],
    "BYOL without EMA and predictor": [
        *("experiment=byol_quick", "method/target=stop_gradient", "method/predictor=none")
    ],
    "BYOL whose target is online": ["experiment=byol_quick", "method/target=shared"],
    "VICReg without variance": ["experiment=vicreg_quick", "ablation=vicreg_no_variance"],
    "VICReg, invariance only": ["experiment=vicreg_quick", "ablation=vicreg_invariance_only"],
    "LeJEPA, lambda 0": ["experiment=lejepa_quick", "ablation=lejepa_no_sigreg"],
    "SwAV without equal shares": ["experiment=swav_quick", "ablation=swav_softmax_codes"],
    "Barlow Twins, invariance only": [
        *("experiment=barlow_twins_quick", "ablation=barlow_twins_invariance_only")
    ],
}
HEALTHY = {
    "SimCLR": ["method=simclr"],
    "SimSiam": ["experiment=simsiam_quick"],
    "BYOL": ["experiment=byol_quick"],
    "VICReg": ["experiment=vicreg_quick"],
    "LeJEPA": ["experiment=lejepa_quick"],
    "Barlow Twins": ["experiment=barlow_twins_quick"],
    "MoCo": ["experiment=moco_quick", "method.queue_size=1024"],
    "MoCo v3": ["experiment=mocov3_quick"],
    "NNCLR": ["experiment=nnclr_quick"],
    "SwAV": ["experiment=swav_quick"],
}
FEW_CLASSES = {
    "SimCLR": ["method=simclr"],
    "SimSiam, 2,048 dimensions": ["experiment=simsiam_quick", "method.embed_dim=2048"],
    "VICReg": ["experiment=vicreg_quick"],
    "SupCon": ["experiment=supcon_quick", "epochs=100"],  # std falls to 0.28 before it rises
    "supervised": ["method=metric_learning", "method/metric_loss=contrastive"],
}


def status(make_config: Make, tmp_path: Path, *overrides: str) -> tuple[str, str]:
    """A run's status, and how it has collapsed."""
    train(make_config(*overrides, "batch_size=64", tiny=False))
    result = RunFolder(tmp_path / "run").read_result()
    return result["status"], result["facts"].get("collapsed", "")


@pytest.mark.parametrize("name", FAILURES)
def test_a_known_failure_is_told(make_config: Make, tmp_path: Path, name: str) -> None:
    found, how = status(make_config, tmp_path, *SHORT, *FAILURES[name])
    assert (found, how[:4]) == ("collapsed", "std ")


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_not(make_config: Make, tmp_path: Path, name: str) -> None:
    assert status(make_config, tmp_path, *SHORT, *HEALTHY[name]) == ("finished", "")


@pytest.mark.parametrize("name", FEW_CLASSES)
def test_nor_one_on_two_classes(make_config: Make, tmp_path: Path, name: str) -> None:
    root = tmp_path / "tree"
    index = torch.arange(3600)
    images, labels = draw_shapes(index[index % 10 < 2], 0)
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        folder = root / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    data = ["dataset=folder", f"dataset.root={root}", "augmentation=shapes"]
    own = [override for override in SHORT if not override.startswith("dataset.splits")]
    assert status(make_config, tmp_path, *data, *own, *FEW_CLASSES[name]) == ("finished", "")
