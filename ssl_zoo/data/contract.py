"""What data sets and augmentations must be, so that one's own are refused in one line."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssl_zoo.data.images import Images, Splits
from ssl_zoo.types import UserError


def check_splits(splits: Any) -> None:
    """Refuse what is not a `Splits` of images with labels in range.

    Raises:
        UserError: Naming the split and what of this does not hold.
    """
    if not isinstance(splits, Splits):
        raise UserError(
            f"the data set is a {type(splits).__name__}: return ssl_zoo.data.images.Splits(train=, "
            "test=, class_names=)"
        )
    twice = sorted({name for name in splits.class_names if splits.class_names.count(name) > 1})
    if twice:
        raise UserError(
            f"class_names has {', '.join(map(str, twice[:3]))} twice: name each class once"
        )
    for name, images in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        if images is not None:
            _check_images(name, images, len(splits.class_names))


def _check_images(name: str, images: Any, num_classes: int) -> None:
    if not isinstance(images, Images):
        raise UserError(
            f"{name} of the data set is a {type(images).__name__}: give an "
            "ssl_zoo.data.images.Images, such as TensorImages(pixels, labels)"
        )
    labels = images.labels
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.ndim != 1:
        raise UserError(
            f"labels of {name} are {_described(labels)}: give an int64 tensor of shape (N,)"
        )
    if not num_classes and len(labels) and int(labels.max()) >= 0:
        raise UserError(
            f"labels of {name} go up to {int(labels.max())}, but class_names is empty: fill it"
        )
    if len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise UserError(
            f"labels of {name} go from {int(labels.min())} to {int(labels.max())}, but there are "
            f"{num_classes} class_names: give 0 to {num_classes - 1}, or -1 for unlabelled images"
        )
    if len(labels) == 0:
        return
    first = next(iter(images.clean_batches([torch.tensor([0])], lambda x: x, num_workers=0)))
    if first.dtype != torch.uint8 or first.ndim != 4 or first.shape[1] != 3:
        raise UserError(
            f"images of {name} are {first.dtype} of shape {tuple(first.shape[1:])}: give uint8 of "
            "shape (3, H, W), with values from 0 to 255"
        )


def check_views(views: Any, num_images: int, num_views: int) -> None:
    """Refuse what an augmentation made, if it is not V float tensors (N, 3, S, S).

    Raises:
        UserError: Saying what it made.
    """
    if (
        isinstance(views, list)
        and len(views) == num_views
        and all(isinstance(view, Tensor) and view.dtype == torch.float32 for view in views)
        and all(view.ndim == 4 and view.shape[:2] == (num_images, 3) for view in views)
        and all(view.shape[2] == view.shape[3] for view in views)
    ):
        return
    parts = views if isinstance(views, list | tuple) else [views]
    made = ", ".join(map(_described, parts))
    raise UserError(
        f"the augmentation returns a {type(views).__name__} of {made}: it must return a list of "
        f"num_views={num_views} float32 tensors of shape ({num_images}, 3, S, S)"
    )


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
