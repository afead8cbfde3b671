"""What passes between the parts: batches, step outputs, and errors that are the user's to mend."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # keeps `import ssl_zoo.types` free of torch, for the command line
    from torch import Tensor


class UserError(ValueError):
    """Bad input, told in one line that names the value, the place and the mend."""


class MultiViewBatch(NamedTuple):
    """V augmented views of N images.

    Attributes:
        views: V tensors (N, C, H, W), float, normalised.
        label: (N,) int64, -1 = unlabelled; read by callbacks and supervised methods only.
        index: (N,) int64, position in the training split.
    """

    views: list[Tensor]
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


class StepOutput(NamedTuple):
    """What a method's `step` returns.

    Attributes:
        loss: Scalar.
        representation: (N, num_features), h of `views[0]` by the online branch, detached.
        embedding: (N, embed_dim), z of the same, unnormalised, detached.
        metrics: Further scalars to log, by name, detached.
    """

    loss: Tensor
    representation: Tensor
    embedding: Tensor
    metrics: dict[str, Tensor]
