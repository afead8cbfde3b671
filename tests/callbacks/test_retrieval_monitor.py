"""Classes of val that were not trained on are scored by retrieval."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch import nn

from helpers.configs import Make
from helpers.tiers import only
from ssl_zoo.checkpoints import load_pretrained
from ssl_zoo.config import instantiate as build
from ssl_zoo.data import DataModule
from ssl_zoo.train import train
from ssl_zoo.training.build import build_method


def column(run: Path, name: str) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


def retrieval_of(run: Path, cfg: DictConfig, checkpoint: str, embedding: bool) -> list[float]:
    """MAP@R and P@1 of the val classes, by pytorch-metric-learning, of a saved checkpoint."""
    data: DataModule = build(cfg.data)
    method = build_method(cfg, data)
    saved = torch.load(run / "checkpoints" / checkpoint, weights_only=True)
    method.load_state_dict(saved["state_dict"])
    method.eval()
    with torch.no_grad():
        outputs = [
            method.encoder(data.preprocess.normalize(batch.images))[embedding]
            for batch in data.val_dataloader()
        ]
    vectors = nn.functional.normalize(torch.cat(outputs), dim=1)
    names = ("mean_average_precision_at_r", "precision_at_1")
    calculator = AccuracyCalculator(
        names, k="max_bin_count", device=torch.device("cpu"), knn_func=CustomKNN(CosineSimilarity())
    )
    labels = data.val.labels
    found = calculator.get_accuracy(vectors, labels, vectors, labels, ref_includes_query=True)
    return [found[name] for name in names]


@pytest.mark.parametrize("method", only(["metric_learning"], ["simclr", "metric_learning"]))
def test_val_classes_are_scored_by_retrieval(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    split = ["dataset.class_split=hash", "batch_size=32", "epochs=3"]
    cfg = make_config(f"method={method}", *split)
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        metrics = train(cfg)
    run = tmp_path / "run"
    assert "val/knn_top1" not in metrics
    assert "val/probe_top1" not in metrics
    assert (
        sum("monitor and the linear probe are off" in r.getMessage() for r in caplog.records) == 1
    )
    curve = column(run, "val/map_at_r")
    assert len(curve) == 3
    last = retrieval_of(run, cfg, "last.ckpt", method == "metric_learning")
    assert [metrics["val/map_at_r"], metrics["val/precision_at_1"]] == pytest.approx(last, abs=1e-5)
    best = retrieval_of(run, cfg, "best.ckpt", method == "metric_learning")
    assert best[0] == pytest.approx(max(curve), abs=1e-5)
    extras = load_pretrained(run).run
    data: DataModule = build(cfg.data)
    assert extras is not None
    assert extras["train_classes"] == data.class_names[:3]
