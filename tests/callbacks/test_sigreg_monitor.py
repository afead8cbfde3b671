"""collapse/sigreg: what it is measured on, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from helpers.configs import Make
from helpers.trees import make_tree
from ssl_zoo.callbacks.clean_features import CleanFeatures
from ssl_zoo.callbacks.sigreg_monitor import SIGRegMonitor
from ssl_zoo.checkpoints import load_pretrained
from ssl_zoo.config import instantiate
from ssl_zoo.evaluation import sigreg
from ssl_zoo.evaluation.features import encode
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.types import BadValue


def test_it_is_the_statistic_of_the_last_checkpoints_val_embeddings(trained: Path) -> None:
    loaded = load_pretrained(trained, "embedding")
    assert loaded.run is not None
    data = instantiate(OmegaConf.create(loaded.run["config"]).data)
    normalize = loaded.preprocess.normalize
    z = encode(loaded.backbone, data.val_dataloader(), normalize, torch.device("cpu"))
    (*_, (_, last)) = RunFolder(trained).read_metrics()["collapse/sigreg"]
    assert last == pytest.approx(sigreg(z.representation).item(), rel=1e-4)


@pytest.mark.slow
def test_unlabelled_data_have_no_val_and_none(make_config: Make, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", [(32, 32)])
    folder = ["dataset=folder", f"dataset.root={tree}", "dataset.labelled=false", "batch_size=8"]
    net = ["backbone.widths=[8,16]", "backbone.strides=[2,2]", "augmentation.blur=0", "name=test"]
    metrics = train(make_config(*folder, *net, "epochs=1", tiny=False))
    assert "collapse/std" in metrics
    assert "collapse/sigreg" not in metrics


@pytest.mark.slow
def test_without_val_there_is_none(make_config: Make) -> None:
    metrics = train(make_config("dataset.val_fraction=0"))
    assert "collapse/std" in metrics
    assert "collapse/sigreg" not in metrics


@pytest.mark.slow
def test_it_comes_when_knn_comes_and_for_a_sample_of_val(make_config: Make, tmp_path: Path) -> None:
    few = ["monitor.every_n_epochs=2", "callbacks.sigreg_monitor.max_images=10", "epochs=3"]
    train(make_config(*few))
    metrics = RunFolder(tmp_path / "run").read_metrics()
    steps = [step for step, _ in metrics["collapse/sigreg"]]
    assert steps == [step for step, _ in metrics["val/knn_top1"]]
    assert len(steps) == 2


@pytest.mark.parametrize("value", [0, -1, None])
def test_a_number_of_images_that_is_none_is_refused(value: Any) -> None:
    shown = "null" if value is None else value
    with pytest.raises(BadValue, match=f"^max_images={shown}: must be a whole number"):
        SIGRegMonitor(CleanFeatures(10), max_images=value)
