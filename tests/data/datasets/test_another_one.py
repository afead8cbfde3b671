"""A data set on disk is one file that reads it and one YAML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.configs import Make
from helpers.images import everything
from ssl_zoo.config import instantiate as build
from ssl_zoo.data.datasets import shapes

CPU = torch.device("cpu")

READER = """
import numpy as np
import torch

from ssl_zoo.data import Splits, TensorImages


def pictures(root):
    with np.load(root) as file:
        train = TensorImages(file["train"], torch.from_numpy(file["train_labels"]))
        test = TensorImages(file["test"], torch.from_numpy(file["test_labels"]))
    return Splits(train, test, [f"kind{i}" for i in range(10)])
"""

OPTION = """
defaults: [base, _self_, override /augmentation@_global_.augmentation: shapes]
root: ???
splits:
  _target_: my_pictures.pictures
  root: ${dataset.root}
"""


def test_it_is_chosen_like_any_other(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_pictures.py").write_text(READER)
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "pictures.yaml").write_text(OPTION)
    monkeypatch.syspath_prepend(tmp_path)
    drawn = shapes(num_train=300, num_test=60)
    assert drawn.test is not None
    arrays = {"train": everything(drawn.train).numpy(), "test": everything(drawn.test).numpy()}
    arrays |= {"train_labels": drawn.train.labels.numpy()}
    arrays |= {"test_labels": drawn.test.labels.numpy()}
    np.savez(tmp_path / "pictures.npz", **arrays)

    place = f"hydra.searchpath=[file://{tmp_path}/conf]"
    chosen = ["dataset=pictures", f"dataset.root={tmp_path}/pictures.npz"]
    ours = build(make_config(place, *chosen, "name=test", tiny=False).data)
    small = ["dataset.splits.num_train=300", "dataset.splits.num_test=60"]
    expected = build(make_config(*small, "name=test", tiny=False).data)
    assert ours.num_images == 270
    assert ours.options() == expected.options()
    for raw, other in zip(ours.train_dataloader(), expected.train_dataloader(), strict=True):
        views = [data.transfer_batch_to_device(raw, CPU, 0).views for data in (ours, expected)]
        assert torch.equal(raw.images, other.images)
        assert all(torch.equal(a, b) for a, b in zip(*views, strict=True))
