"""The clean path of an image into the backbone: resize, centre crop, normalise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from ssl_zoo.types import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocess(nn.Module):
    """uint8 images (N, 3, H, W) -> float32 (N, 3, image_size, image_size), normalised.

    Args:
        image_size: Side of what the backbone sees, in pixels.
        crop_fraction: Side of the centre crop over the resized image's shorter side (0.875 =
            resize 256, crop 224). An image that has the right size already stays as it is.
        mean: Per channel, of images scaled to [0, 1].
        std: Per channel.

    Raises:
        UserError: At a call, if the images are not uint8.
    """

    def __init__(
        self,
        image_size: int,
        crop_fraction: float = 1.0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.image_size, self.crop_fraction = image_size, crop_fraction
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(list(mean)).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(3, 1, 1))

    def geometry(self, images: Tensor) -> Tensor:
        """Resize the shorter side and crop the centre: uint8 (..., 3, H, W) -> (..., 3, S, S)."""
        if images.shape[-2:] == (self.image_size, self.image_size):
            return images
        shorter = round(self.image_size / self.crop_fraction)
        resized = functional.resize(images, [shorter], antialias=True)
        cropped: Tensor = functional.center_crop(resized, [self.image_size, self.image_size])
        return cropped

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (..., 3, H, W) -> normalised float32, on the images' device."""
        if images.dtype != torch.uint8:
            raise UserError(
                f"images of {images.dtype}: preprocess takes uint8 images from 0 to 255"
            )
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        return images.float().div_(255).sub_(mean).div_(std)

    def forward(self, images: Tensor) -> Tensor:
        return self.normalize(self.geometry(images))

    def options(self) -> dict[str, Any]:
        """The arguments that make this again, as plain data."""
        return {
            "image_size": self.image_size,
            "crop_fraction": self.crop_fraction,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }
