"""Vectors for optimizers."""

from __future__ import annotations

import torch
from torch import Tensor


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
