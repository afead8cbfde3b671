"""LiDAR of a frozen backbone: a figure without labels, of views of training images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ssl_zoo.console import info
from ssl_zoo.data import Augmentation, DataModule
from ssl_zoo.data.loaders import TrainLoader
from ssl_zoo.data.samplers import EpochSampler
from ssl_zoo.evaluation import effective_rank, lidar, sample_rows
from ssl_zoo.evaluation.features import encode
from ssl_zoo.protocols.base import RANDOM_INIT, Protocol
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.labelled_views import LabelledViews
from ssl_zoo.types import BadValue, UserError, check_number, check_whole


class LiDAR(Protocol):
    """The effective rank of the discriminant analysis that tells images apart by their views.

    The images are of the training split, labelled or not, the same for all backbones, and so is the
    chain that makes the views. What is measured is what is scored: representation or embedding.

    Args:
        num_images: n, the classes; at most n - 1 directions can be told apart.
        num_views: q, of each image.
        delta: Keeps the covariance within images invertible.
        augmentation: Factory of the views, `augmentation(size=, num_views=, mean=, std=, seed=)`.

    Raises:
        BadValue: If a number is below 2, delta is not above 0, or the augmentation has a number or
            size of views; in `check`, a UserError if train has fewer than two images.

    Source: Thilak et al. 2024 (LiDAR): 1,000 images; ten views are within 1% of fifty.
    """

    headline = "lidar"
    columns = ("lidar", "effective_rank", "num_images", "num_views", "num_features")
    floors = (RANDOM_INIT,)
    shares = False

    def __init__(
        self,
        num_images: int,
        num_views: int,
        delta: float,
        augmentation: Callable[..., Augmentation],
    ) -> None:
        check_whole("num_images", num_images, least=2)
        check_whole("num_views", num_views, least=2)
        check_number("delta", delta, above=True)
        _check_views(augmentation)
        self.num_images, self.num_views, self.delta = num_images, num_views, delta
        self.augmentation = augmentation

    def check(self, data: DataModule) -> None:
        if len(data.train) < 2:
            raise UserError(f"train has {len(data.train)} image(s), and two are needed")
        if len(data.train) < self.num_images:
            info(
                f"lidar: train has {len(data.train)} images, not num_images={self.num_images}: all "
                "are used; values of fewer images are lower and not comparable"
            )

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`lidar`, the `effective_rank` of the same views, and how many images, views, features."""
        wanted = (self.num_images, self.num_views)
        features = view_features(candidate, self.augmentation, *wanted)
        n, q, dim = features.shape
        if dim >= n and candidate.name not in self.floors:
            info(f"{candidate.name}: lidar of {dim} features by {n} images is at most {n - 1}")
        return {
            "lidar": float(lidar(features, self.delta)),
            "effective_rank": float(effective_rank(features[:, 0])),
            "num_images": n,
            "num_views": q,
            "num_features": dim,
        }


def _check_views(augmentation: Callable[..., Augmentation]) -> None:
    """Refuse knobs of the views' number and size, which are the protocol's and the backbone's."""
    given = getattr(augmentation, "keywords", {})
    if given.get("size") is not None:
        allowed = "null: views have the size of the backbone's images"
        raise BadValue("augmentation.size", given["size"], allowed)
    if given.get("num_views", 1) != 1:
        allowed = "1: num_views of the protocol says how many are made of an image"
        raise BadValue("augmentation.num_views", given["num_views"], allowed)


def view_features(
    candidate: Candidate, augmentation: Callable[..., Augmentation], num_images: int, num_views: int
) -> Tensor:
    """Features of several views of each of some training images: (n, q, D) float32.

    Args:
        candidate: Backbone and data.
        augmentation: Factory of the views, as `LiDAR` takes it.
        num_images: n at most.
        num_views: q.
    """
    views = augmentation(
        size=candidate.preprocess.image_size,
        num_views=1,
        mean=candidate.preprocess.mean.flatten().tolist(),
        std=candidate.preprocess.std.flatten().tolist(),
        seed=candidate.seed,
    )
    chosen = sample_rows(torch.arange(len(candidate.data.train)), num_images)
    loader, found = _loader(candidate, views, chosen), []
    with candidate.bar("lidar") as progress:
        for view in range(num_views):
            loader.sampler.set_epoch(view)  # the views of each epoch are others
            index, rows = zip(*_one_pass(candidate, loader, views), strict=True)
            found.append(torch.cat(rows)[torch.cat(index).argsort()][: len(chosen)])
            progress(view + 1, num_views)
    return torch.stack(found, dim=1)


def _loader(candidate: Candidate, views: Augmentation, chosen: Tensor) -> TrainLoader:
    """Batches of the chosen images, after which the first ones come again to fill the last."""
    size = min(max(2, candidate.batch_size), len(chosen))
    again = chosen[: -len(chosen) % size]
    images = candidate.data.train.subset(torch.cat([chosen, again]))
    sampler = EpochSampler(len(images), size, seed=candidate.seed)
    return TrainLoader(images, sampler, views, candidate.data.num_workers)


def _one_pass(
    candidate: Candidate, loader: TrainLoader, views: Augmentation
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions, and features of one view of each image."""
    for batch in loader:
        made = views(batch.images, batch.index, batch.epoch, candidate.device)
        large = [view for view in made if view.shape == made[0].shape]  # multi-crop's small: none
        view = LabelledViews(large[batch.epoch % len(large)], batch.label)  # BYOL's two differ
        how = (_as_it_is, candidate.device, candidate.autocast)
        yield batch.index, encode(candidate.backbone, [view], *how).representation


def _as_it_is(images: Tensor) -> Tensor:
    return images
