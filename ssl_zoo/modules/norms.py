"""Batch norm over parts of a batch, as several devices without SyncBN would compute it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_zoo.types import BadValue


class SplitBatchNorm(_BatchNorm):
    """Batch norm that normalises each of `num_splits` contiguous parts of the batch separately.

    The running statistics move once per step, by the mean of the parts' statistics; in evaluation
    it equals the batch norm that it replaces, with the same weights and buffers.

    Args:
        norm: The batch norm that it replaces, whose weights and buffers it takes over.
        num_splits: Number of parts; a batch that it does not divide is an error.

    Source: He et al. 2020 (MoCo), CIFAR-10 notebook, where part i holds the rows that are i modulo
    `num_splits`.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm, num_splits: int) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.num_splits = num_splits

    def _check_input_dim(self, input: Tensor) -> None:
        """Accepts any rank, since the replaced norm may be of any dimension."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            normalised: Tensor = super().forward(input)
            return normalised
        if len(input) % self.num_splits:
            says = f"does not divide the {len(input)} rows of a batch norm: change it or batch_size"
            raise BadValue("num_splits", self.num_splits, says=says)
        means = self.running_mean.repeat(self.num_splits, 1)
        variances = self.running_var.repeat(self.num_splits, 1)
        parts = zip(input.chunk(self.num_splits), means, variances, strict=True)
        assert self.momentum is not None
        out = [  # each row of the statistics is updated in place
            functional.batch_norm(x, m, v, self.weight, self.bias, True, self.momentum, self.eps)
            for x, m, v in parts
        ]
        with torch.no_grad():
            self.running_mean.copy_(means.mean(dim=0))
            self.running_var.copy_(variances.mean(dim=0))
            self.num_batches_tracked.add_(1)
        return torch.cat(out)


def split_norms(module: nn.Module, num_splits: int) -> None:
    """Replace every batch norm below a module, in place, by a `SplitBatchNorm`."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, SplitBatchNorm(child, num_splits))
        else:
            split_norms(child, num_splits)
