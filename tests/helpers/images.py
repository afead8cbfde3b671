"""The pixels of a set of images."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_zoo.data.images import Images, TensorImages


def tensors(images: Images | None) -> TensorImages:
    assert isinstance(images, TensorImages)
    return images


def rows_of(images: Images | None) -> Tensor:
    rows = tensors(images).rows
    assert rows is not None
    return rows


def everything(images: Images | None) -> Tensor:
    return tensors(images).batch(torch.arange(len(tensors(images))))
