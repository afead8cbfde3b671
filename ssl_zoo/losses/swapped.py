"""SwAV's loss: the code of one view is predicted from the scores of another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_zoo.distributed import global_mean
from ssl_zoo.hardware import at_least_float32


def swapped_prediction(scores: Tensor, codes: Mapping[int, Tensor], temperature: float) -> Tensor:
    """The cross-entropy of codes and the softmax of other views' scores.

    The mean over the other views, over the images of all ranks, and over the views with a code; in
    the paper's equations views and images are summed.

    Args:
        scores: (V, N, K), with gradient.
        codes: (N, K) of the views that have one, by the view.
        temperature: tau, of the softmax.

    Source: Caron et al. 2020 (SwAV), eq. 2 and 6 and the official code.
    """
    with torch.autocast(scores.device.type, enabled=False):
        log_p = (at_least_float32(scores) / temperature).log_softmax(dim=2)
        terms = [
            -(code * other).sum()
            for view, code in codes.items()
            for v, other in enumerate(log_p)
            if v != view
        ]
        return global_mean(torch.stack(terms).sum(), len(terms) * scores.shape[1])
