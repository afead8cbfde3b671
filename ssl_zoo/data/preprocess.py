"""The clean path of an image into the backbone: resize, centre crop, normalise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from ssl_zoo.data.pixels import Reader, is_nchw, not_uint8, readers, say_frames
from ssl_zoo.types import BadValue, UserError, check_whole

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocess(nn.Module):
    """Images -> float32 (N, 3, image_size, image_size), normalised; print it to see what it does.

    Called with a uint8 tensor (N, 3, H, W), on any device; or with whatever `readers` takes: an
    image file's path, a PIL image, a uint8 array or tensor of one image or of several, channels
    first or last, or a list of these, whose sizes may differ. A single image comes out as a batch
    of one.

    Args:
        image_size: Side of what the backbone sees, in pixels.
        crop_fraction: Side of the centre crop over the resized image's shorter side (0.875 =
            resize 256, crop 224). An image that has the right size already stays as it is.
        mean: Per channel, of images scaled to [0, 1].
        std: Per channel.
        white: The value that is white in files of 16 bits, such as 4095 for 12 bits; None = 65535.

    Raises:
        BadValue: If the size or the fraction makes no sense, `mean` or `std` is not three finite
            numbers, or not of images scaled to [0, 1], or a `std` is not above 0.
        UserError: At a call, if the images are not uint8, or not of a kind that is known.
    """

    def __init__(
        self,
        image_size: int,
        crop_fraction: float = 1.0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        white: int | None = None,
    ) -> None:
        super().__init__()
        check_whole("image_size", image_size)
        if not isinstance(crop_fraction, int | float) or not 0.1 <= crop_fraction <= 1:
            # images are resized to image_size / crop_fraction, which has to fit in memory
            raise BadValue("crop_fraction", crop_fraction, "in [0.1, 1]")
        self.white = white
        self.image_size, self.crop_fraction = image_size, float(crop_fraction)  # 1 is 1.0 in ids
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", _per_channel("mean", mean).view(3, 1, 1))
        self.register_buffer("std", _per_channel("std", std).view(3, 1, 1))
        if not bool((self.std > 0).all()):
            raise BadValue("std", std, "above 0")

    def geometry(self, images: Tensor) -> Tensor:
        """Resize the shorter side and crop the centre: uint8 (..., 3, H, W) -> (..., 3, S, S)."""
        if images.shape[-2:] == (self.image_size, self.image_size):
            return images
        resized = functional.resize(images, [self._shorter], antialias=True)
        cropped: Tensor = functional.center_crop(resized, [self.image_size, self.image_size])
        return cropped

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (..., 3, H, W) -> normalised float32, on the images' device."""
        if images.dtype != torch.uint8:
            raise UserError(not_uint8(images))
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        return images.float().div_(255).sub_(mean).div_(std)

    def readers(self, images: Any, tell: Callable[[int], None] | None = None) -> list[Reader]:
        """What reads each of some images, as `ssl_zoo.data.pixels.readers`, by this white level."""
        return readers(images, white=self.white, tell=tell)

    def forward(self, images: Any) -> Tensor:
        if is_nchw(images):
            return self.normalize(self.geometry(images))
        frames: list[int] = []
        reads = self.readers(images, tell=frames.append)
        prepared = self.normalize(torch.stack([self.geometry(read()) for read in reads]))
        say_frames(frames)
        return prepared

    @property
    def _shorter(self) -> int:
        """What the shorter side of an image is resized to."""
        return round(self.image_size / self.crop_fraction)

    def extra_repr(self) -> str:
        """What is done to an image, in one line."""
        size, shorter = f"{self.image_size} x {self.image_size}", self._shorter
        kept = "" if shorter == self.image_size else f" (images of {size} stay as they are)"
        mean, std = ([float(f"{v:.4g}") for v in x.flatten()] for x in (self.mean, self.std))
        steps = [] if self.white is None else [f"16-bit white is {self.white}"]
        steps += [f"resize the shorter side to {shorter}", f"crop the centre {size}{kept}"]
        steps.append("scale to [0, 1]")
        if mean != [0, 0, 0] or std != [1, 1, 1]:
            steps.append(f"normalise by mean {mean} and std {std}")
        return ", ".join(steps)

    def options(self) -> dict[str, Any]:
        """The arguments that make this again, as plain data."""
        options = {
            "image_size": self.image_size,
            "crop_fraction": self.crop_fraction,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }
        return options if self.white is None else options | {"white": self.white}


def _per_channel(name: str, values: Sequence[float]) -> Tensor:
    listed = list(values) if isinstance(values, Iterable) else []
    numbers = [value for value in listed if isinstance(value, int | float)]
    if len(numbers) != 3 or len(listed) != 3 or not all(map(math.isfinite, numbers)):
        raise BadValue(name, values, "three numbers, for red, green and blue")
    if any(abs(number) > 1 for number in numbers):
        says = "is not of images scaled to [0, 1]: divide it by 255"
        raise BadValue(name, values, says=says)
    return torch.tensor(numbers, dtype=torch.float32)
