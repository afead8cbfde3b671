"""Preprocessing of clean images."""

from __future__ import annotations

import torch

from ssl_zoo.data import Preprocess


def test_preprocess_resizes_crops_and_normalises() -> None:
    preprocess = Preprocess(32, 0.875, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1])
    images = torch.full((2, 3, 60, 90), 255, dtype=torch.uint8)
    out = preprocess(images)
    assert out.shape == (2, 3, 32, 32)
    torch.testing.assert_close(out[0, :, 5, 5], torch.tensor([2.5, 3.0, 7.0]))
    exact = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(preprocess.geometry(exact), exact)
    again = Preprocess(**preprocess.options())
    assert torch.equal(again(exact), preprocess(exact))
