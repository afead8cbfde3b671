"""Protocols that choose nothing need no val; runs that hold nothing out train and are scored."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.configs import Make
from helpers.programs import run_evaluate
from helpers.protocols import colours, protocol, small_candidate
from helpers.tiers import every, only
from ssl_zoo.data import Augmentation, DataModule
from ssl_zoo.data.images import Splits
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.types import UserError

ONE_HEAD: dict[str, Any] = {"learning_rates": [0.1], "weight_decays": [0.0]}
ONE_SETTING: dict[str, dict[str, Any]] = {
    "knn": {"ks": [5, 10], "k": 5},
    "few_shot": {"fractions": [], "per_class": [2], "draws": 2, "strengths": [0.1]},
    "linear": {**ONE_HEAD, "epochs": 10},
    "logistic": {"strengths": [0.1]},
    "linear_augmented": {**ONE_HEAD, "epochs": 2, "batch_size": 64},
    "linear_augmented_moco": {"epochs": 2, "batch_size": 64},
    "linear_augmented_simsiam": {"epochs": 2, "batch_size": 64},
    "finetune": {"fractions": [1.0], "epochs": [2], "batch_size": 64, "learning_rates": [0.05]},
}
GRIDS = {"linear": 32, "logistic": 15, "linear_augmented": 32, "finetune": 3}


def whole() -> DataModule:
    splits = Splits(colours(200, 0), colours(60, 1), list("abcde"))
    return DataModule(splits, Augmentation, val_fraction=0, num_workers=0)


@pytest.mark.parametrize("name", only(["knn", "linear", "logistic", "finetune"], ONE_SETTING))
def test_one_setting_is_scored(name: str, tmp_path: Path) -> None:
    made, data = protocol(name, **ONE_SETTING[name]), whole()
    made.check(data)
    candidate = small_candidate(make_data=lambda: data, figure_stem=tmp_path / name)
    row = made.score(candidate)
    assert 0.2 <= row[made.headline] <= 1
    assert all(row[key] is None for key in row if key.startswith("val_top1") and "by" not in key)
    again = small_candidate(make_data=whole)
    assert made.score(again) == row


@pytest.mark.parametrize("name", GRIDS)
def test_a_choice_needs_val(name: str) -> None:
    line = f"^no image is held out to choose among {GRIDS[name]} settings: give one setting, or "
    with pytest.raises(UserError, match=line + r"dataset\.val_fraction=0\.1$"):
        protocol(name).check(whole())


@pytest.mark.parametrize("name", ["linear", "logistic"])
def test_with_val_one_setting_still_has_its_score_on_it(name: str) -> None:
    row = protocol(name, **ONE_SETTING[name]).score(small_candidate())
    assert 0 <= row["val_top1"] <= 1


@pytest.mark.slow
def test_a_run_that_holds_nothing_out(make_config: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        metrics = train(make_config("dataset.val_fraction=0"))
    (line,) = [message for message in caplog.messages if "no image is held out" in message]
    assert "the kNN monitor and the linear probe are off; evaluate.py scores the run" in line
    assert not [name for name in metrics if name.startswith("val/")]
    folder = RunFolder(Path(make_config().run_dir))
    assert folder.last.is_file()
    assert not folder.best.is_file()
    saved = torch.load(folder.last, weights_only=True)["callbacks"]
    assert not [name for name in saved if "LinearProbe" in name]  # it would train for nothing
    published = ["protocol=knn", "features=embedding", "protocol.knn.k=200"]
    result = run_evaluate(f"ckpt={folder}", *published, "baselines=false")
    assert result["num_images"] == {"train": 300, "val": 0, "test": 60}
    row = result["rows"]["pretrained"]
    assert row["val_top1"] is None
    assert row["test_top1"] == row["test_top1_k200"]
    held_out = run_evaluate(f"ckpt={folder}", "dataset.val_fraction=0.1", "baselines=false")
    assert held_out["num_images"]["val"] == 30
    assert held_out["rows"]["pretrained"]["val_top1"] is not None


CHOSEN = ["early_stopping", "model_checkpoint"]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", every(2, CHOSEN))
def test_nothing_can_wait_for_a_metric_of_val(make_config: Make, chosen: str) -> None:
    cfg = make_config("dataset.val_fraction=0", f"callbacks=[default,{chosen}]")
    line = rf"^callbacks\.{chosen}\.monitor=val/knn_top1: no image is held out, .*val_fraction=0\.1"
    with pytest.raises(UserError, match=line):
        train(cfg)
