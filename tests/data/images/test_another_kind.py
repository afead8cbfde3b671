"""A new format is a class that implements Images: nothing else changes for it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from helpers.configs import TINY, Make
from helpers.strip import Strip, read_strip, write_strip
from ssl_zoo.data import Augmentation, DataModule, Splits
from ssl_zoo.data.datasets import shapes
from ssl_zoo.data.datasets.drawn_shapes import SHAPE_NAMES
from ssl_zoo.train import train

CPU = torch.device("cpu")
SMALL = [knob for knob in TINY if knob.startswith("dataset.")]  # of shapes
CHEAP = [*(knob for knob in TINY if knob not in SMALL), "callbacks=none"]


@pytest.fixture
def strips(tmp_path: Path) -> Path:
    """300 and 60 shapes, as strips."""
    drawn = shapes(num_train=300, num_test=60)
    for name, images in (("train", drawn.train), ("test", drawn.test)):
        assert images is not None
        (pixels,) = images.clean_batches([torch.arange(len(images))], lambda x: x, 0)
        write_strip(tmp_path / "strips", name, pixels, images.labels)
    return tmp_path / "strips"


def data_module(splits: Splits, **options: Any) -> DataModule:
    views = partial(Augmentation, crop_scale=(0.5, 1.0), hue=0.5)
    return DataModule(splits, views, batch_size=32, seed=3, **options)


def everything(data: DataModule) -> list[Tensor]:
    """All that the data module hands out in two epochs and of each clean split."""
    found = []
    loader = data.train_dataloader()
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        for raw in loader:
            batch = data.transfer_batch_to_device(raw, CPU, 0)
            found += [*batch.views, batch.label, batch.index]
    clean = [data.bank_dataloader(50), data.val_dataloader(), data.test_dataloader()]
    return found + [x for split in clean for raw in split for x in (raw.images, raw.label)]


@pytest.mark.parametrize(
    "options", [{}, {"class_split": "hash", "fold": 1}, {"images_per_class": 4}]
)
def test_it_gives_what_the_same_images_in_an_array_give(
    strips: Path, options: dict[str, Any]
) -> None:
    drawn = shapes(num_train=300, num_test=60)
    ours = data_module(read_strip(strips, 32, drawn.class_names), **options)
    array = data_module(drawn, **options)
    assert isinstance(ours.train, Strip)
    assert ours.options() == array.options()
    assert ours.num_images == array.num_images
    found, expected = everything(ours), everything(array)
    assert len(found) == len(expected) > 20
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
def test_it_trains_from_one_more_yaml(make_config: Make, strips: Path, tmp_path: Path) -> None:
    options = tmp_path / "conf" / "dataset"
    options.mkdir(parents=True)
    names = list(SHAPE_NAMES)
    splits = {"_target_": "helpers.strip.read_strip", "root": str(strips), "side": 32}
    splits = {**splits, "class_names": names}
    text = yaml.safe_dump({"defaults": ["base"], "name": "strips", "splits": splits})
    (options / "strips.yaml").write_text(text)
    chosen = ["dataset=strips", f"hydra.searchpath=[file://{tmp_path}/conf]", "augmentation=shapes"]
    ours = train(make_config(*chosen, *CHEAP, tiny=False))
    assert ours["train/loss"] > 0
    assert ours == train(make_config(*CHEAP, *SMALL, run="shapes", tiny=False))
