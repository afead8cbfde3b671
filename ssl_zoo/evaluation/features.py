"""Features of clean images: encoded once, in eval mode, and shared by all that score them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssl_zoo import distributed

STORED_IN = "float32"  # of features, in memory and in files, whatever they were encoded in


class Features(NamedTuple):
    """Representations of a split.

    Attributes:
        representation: (M, D) float32.
        label: (M,) int64, -1 = unlabelled.
    """

    representation: Tensor
    label: Tensor

    def labelled(self) -> Features:
        """The labelled rows."""
        keep = self.label >= 0
        return Features(self.representation[keep], self.label[keep])

    def among(self, labels: Tensor) -> Features:
        """The rows whose label is one of these."""
        keep = torch.isin(self.label, labels.to(self.label.device))
        return self if keep.all() else Features(self.representation[keep], self.label[keep])


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """A context in eval mode, after which each submodule has its own mode again."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in modes:
            m.training = training


def representer(
    forward: nn.Module,
    normalize: Callable[[Tensor], Tensor],
    device: torch.device,
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Callable[[Tensor], Tensor]:
    """What makes uint8 images (N, 3, S, S) float32 features (N, D), as `forward` likes its input.

    Args:
        forward: (N, 3, S, S) -> (N, D), on the device.
        normalize: uint8 images -> what `forward` expects.
        device: Of `forward`.
        precision: Context of the forward pass, such as an autocast.
    """
    channels_last = any(p.ndim == 4 for p in forward.parameters())
    layout = torch.channels_last if channels_last else torch.contiguous_format
    dtype = next((p.dtype for p in forward.parameters()), torch.float32)  # precision=bf16-true

    def represent(images: Tensor) -> Tensor:
        prepared = normalize(images.to(device)).to(dtype).contiguous(memory_format=layout)
        with precision():
            features: Tensor = forward(prepared).to(getattr(torch, STORED_IN))
        return features

    return represent


@torch.inference_mode()
def encode(
    forward: nn.Module,
    batches: Iterable[Any],
    normalize: Callable[[Tensor], Tensor],
    device: torch.device,
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    on_batch: Callable[[], None] | None = None,
) -> Features:
    """Encode this rank's batches in eval mode and gather the features of all ranks.

    Args:
        forward: (N, 3, S, S) -> (N, D).
        batches: With `images` uint8 (N, 3, S, S) and `label` (N,).
        normalize: uint8 images -> what `forward` expects.
        device: The device of `forward`.
        precision: Context of the forward pass, such as an autocast.
        on_batch: Called after each batch, for a progress bar.
    """
    represent = representer(forward, normalize, device, precision)
    features, labels = [], []
    with eval_mode(forward):
        for batch in batches:
            features.append(represent(batch.images))
            labels.append(batch.label.to(device))
            if on_batch is not None:
                on_batch()
    if not features:
        features, labels = (
            [torch.empty(0, 1, device=device)],
            [torch.empty(0, device=device).long()],
        )
    return Features(
        distributed.gather_uneven(torch.cat(features)), distributed.gather_uneven(torch.cat(labels))
    )
