"""Losses over the labels of a batch: `loss(z (V, N, D), label (N,)) -> scalar`."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_zoo.losses.base import LabelledLoss
from ssl_zoo.losses.checks import check_choice, check_temperature


class SupervisedContrastive(LabelledLoss):
    """Each view attracts all views of its class, and repels the others of the batch: L_out.

    Each positive has its own logarithm, over all other views, and an anchor's positives are
    averaged. An unlabelled image (-1) is a class of its own, so that without labels this is
    NT-Xent. An anchor without any positive counts 0 in the mean.

    Args:
        temperature: tau.
        base_temperature: The loss counts temperature / this times, as in the official code.
        anchors: "all" views, or the "first" of each image.

    Raises:
        BadValue: If a temperature is not above 0, or there are no such anchors.

    Source: Khosla et al. 2020 (SupCon), eq. 2, and the official code.
    """

    def __init__(
        self, temperature: float = 0.1, base_temperature: float = 0.07, anchors: str = "all"
    ) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature)
        self.scale = temperature / check_temperature(base_temperature, "base_temperature")
        self.anchors = check_choice("anchors", anchors, ("all", "first"))

    def of_batch(self, z: Tensor, label: Tensor) -> Tensor:
        """The loss of (V, N, D) and (N,); similarities are dot products of what is given."""
        num_views, n, _ = z.shape
        rows = z.flatten(0, 1)  # view after view
        image = torch.arange(n, device=z.device).repeat(num_views)
        anchors = slice(n if self.anchors == "first" else None)

        similarity = rows[anchors] @ rows.T / self.temperature
        itself = torch.eye(len(rows), dtype=torch.bool, device=z.device)[anchors]
        others = similarity.masked_fill(itself, -float("inf")).logsumexp(dim=1, keepdim=True)

        positive = same_class(label[image], image)[anchors] & ~itself
        terms = (others - similarity).masked_fill(~positive, 0).sum(dim=1)
        return self.scale * (terms / positive.sum(dim=1).clamp(min=1)).mean()


def same_class(label: Tensor, image: Tensor) -> Tensor:
    """Which rows are of one class, or of one image: (M,) and (M,) -> (M, M) bool."""
    same_label = (label[:, None] == label[None, :]) & (label >= 0)
    return same_label | (image[:, None] == image[None, :])
