"""The data module's channel statistics and bank."""

from __future__ import annotations

import numpy as np
import torch

from helpers.configs import Make
from helpers.trees import data_of
from ssl_zoo.data.datamodule import channel_statistics
from ssl_zoo.data.images import TensorImages


def test_channel_statistics_equal_numpy() -> None:
    images = torch.randint(0, 256, (50, 3, 9, 7), dtype=torch.uint8)
    mean, std = channel_statistics(TensorImages(images, torch.zeros(50).long()))
    expected = images.numpy() / 255
    np.testing.assert_allclose(mean, expected.mean(axis=(0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(std, expected.std(axis=(0, 2, 3)), atol=1e-12)


def test_bank_is_the_labelled_train_split_or_a_fixed_part(make_config: Make) -> None:
    data = data_of(make_config)
    whole = torch.cat([batch.index for batch in data.bank_dataloader()])
    assert torch.equal(whole, torch.arange(270))
    part = torch.cat([batch.index for batch in data.bank_dataloader(50)])
    assert len(part) == len(part.unique()) == 50
    assert torch.equal(part, torch.cat([b.index for b in data.bank_dataloader(50)]))
