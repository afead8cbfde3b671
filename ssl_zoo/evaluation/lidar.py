"""LiDAR: how many directions tell images apart, beside what their views differ in."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_zoo.evaluation.collapse import entropy_rank
from ssl_zoo.types import BadValue, check_number

_IMAGES_AT_ONCE = 64  # in float64


@torch.no_grad()
def lidar(views: Tensor, delta: float = 1e-4) -> Tensor:
    """The effective rank of the linear discriminant analysis whose classes are the images.

    With B the covariance of the images' means over their views and W that of the views about these
    means plus delta I, both unbiased, it is exp of the entropy of the D eigenvalues of
    W^-1/2 B W^-1/2, each divided by their sum, plus 1e-7: from 1 to min(n - 1, D).

    Args:
        views: (n, q, D), q views of each of n images, any float type; computed in float64.
        delta: Keeps W invertible; the embeddings' scale matters where W is not well above it.

    Returns:
        Scalar float64; 1 where all images have one mean, NaN if a value is not finite.

    Raises:
        BadValue: If there are not two images of two views each, or delta is not above 0.

    Source: Thilak et al. 2024 (LiDAR), sec. 3; the paper names no delta.
    """
    n, q, dim = views.shape
    if n < 2 or q < 2:
        raise BadValue("views", [n, q, dim], says="is too few: give two images of two views each")
    check_number("delta", delta, above=True)
    if not views.isfinite().all():
        return torch.full((), torch.nan, dtype=torch.float64, device=views.device)
    means = torch.stack([image.double().mean(dim=0) for image in views])
    within = torch.zeros(dim, dim, dtype=torch.float64, device=views.device)
    for some, mean in zip(views.split(_IMAGES_AT_ONCE), means.split(_IMAGES_AT_ONCE), strict=True):
        rows = (some - mean[:, None]).flatten(0, 1)
        within += rows.T @ rows
    within /= n * (q - 1)
    within.diagonal().add_(delta)
    between = (means - means.mean(dim=0)) / (n - 1) ** 0.5
    # L^-1 B L^-T, L the Cholesky factor of W, has the same eigenvalues; so has the smaller Gram
    # matrix of L^-1 times the means, whose other eigenvalues are 0
    root = torch.linalg.cholesky(within)
    whitened = torch.linalg.solve_triangular(root, between.T, upper=False)  # (D, n)
    gram = whitened.T @ whitened if n < dim else whitened @ whitened.T
    eigenvalues = torch.linalg.eigvalsh(gram).clamp_min(0)
    return entropy_rank(torch.cat([eigenvalues, eigenvalues.new_zeros(max(0, dim - n))]))
