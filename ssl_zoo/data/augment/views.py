"""Random views of whole batches of images, on the device.

Every random number is a pure function of (seed, epoch, index, view, op): an image's views do not
depend on the batch it is in, on workers or on a resume. Numbers are drawn on the CPU and have the
distributions of torchvision's RandomResizedCrop, ColorJitter and GaussianBlur, or of the papers'
own code where a `_form` says so; only the drawn parameters move to the device, and nothing is read
back from it.

Speed, `python benchmarks/augment.py` on two cores of an AMD EPYC (32x32, batches of 256, SimCLR's
CIFAR ops, median of 30 and range): 48,400 views/s in random jitter order (37,800 to 54,600), 64,000
in fixed order (31,300 to 75,000); torchvision on PIL images, one core: 3,500 (3,100 to 3,600).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ssl_zoo.data.augment import ops as image_ops
from ssl_zoo.data.augment.draws import ViewParameters, draw, draw_box
from ssl_zoo.data.augment.settings import (
    KNOBS,
    OPS,
    ViewSettings,
    channel_scale,
    settings_of_views,
    view_settings,
)
from ssl_zoo.types import UserError


class Augmentation:
    """Makes V random views of a batch of images, as SimCLR does.

    The defaults are SimCLR's for ImageNet; `views` says how views differ. Each of
    `flip`, `jitter`, `grayscale`, `blur` and `solarize` is the probability of that op.

    Args:
        size: Side of the views in pixels; may be smaller than the images.
        num_views: Number of views; if `views` has entries, they determine it.
        order: Ops in the order they run, from crop, flip, jitter, grayscale, blur and solarize; one
            left out is off, and crop comes first. Without crop, the view is the central square.
        crop_scale: Least and greatest share of the image's area that a crop takes, before resizing.
        crop_ratio: Least and greatest width / height of a crop.
        crop_form: A crop that does not fit into the image is drawn again, "redraw", as in
            torchvision; "clip" = one draw, its sides clipped to the image, as in BYOL's code;
            "tensorflow" = `tf.image.sample_distorted_bounding_box` as in SimCLR's, whose heights
            are uniform up to the largest that fits, and which redraws what covers less than 0.1.
        interpolation: "bilinear" or "bicubic".
        antialias: False = as `tf.image.resize` of TensorFlow 2, which SimCLR and BYOL use.
        flip: Probability of a horizontal flip.
        jitter: Probability of colour jitter.
        brightness: Strength x: the factor is uniform in [max(0, 1 - x), 1 + x].
        contrast: Likewise.
        saturation: Likewise.
        hue: Strength x: the hue turns by a fraction of the circle uniform in [-x, x]; at most 0.5.
        brightness_form: "multiply" by a factor, or "add" a number uniform in [-x, x] (BYOL).
        contrast_form: Around the mean of the "gray" image, or of each "channel" (TensorFlow).
        saturation_form: A blend with the "gray" image, or a factor in "hsv" (TensorFlow).
        jitter_order: "random", an order of the four for each image as in torchvision, or "fixed".
        grayscale: Probability of grayscale.
        blur: Probability of Gaussian blur.
        blur_sigma: Least and greatest standard deviation in pixels; uniform in between.
        blur_kernel: Odd width of the kernel in pixels; None = a tenth of the size, as SimCLR.
        blur_padding: What lies outside of the view: "reflect", or "zero" (TensorFlow).
        solarize: Probability of solarisation.
        solarize_threshold: Values from here on are inverted; in [0, 1].
        views: The knobs that differ for each view, such as BYOL's [{"blur": 1.0}, {"blur": 0.1,
            "solarize": 0.2}]; empty = all alike. `size` and all knobs from `order` to here may be
            named; `count` makes an entry stand for several views, as in multi-crop's
            [{"count": 2}, {"count": 6, "size": 96, "crop_scale": [0.05, 0.14]}].
        small: One more entry, for multi-crop's small views after all others, such as
            {"count": 6, "crop_scale": [0.05, 0.14]}; `size` is 3/7 of theirs unless it is named.
        mean: Mean of each channel of images in [0, 1]; None = do not normalise.
        std: Standard deviation of each channel.
        seed: Seed of all draws.

    Attributes:
        num_views: V.
        sizes: Side of each view in pixels.

    Raises:
        UserError: If a knob's value makes no sense.

    Source: Chen et al. 2020, "A simple framework for contrastive learning" (SimCLR), appendix A;
    Grill et al. 2020, "Bootstrap your own latent" (BYOL), appendix B; Caron et al. 2020,
    "Unsupervised learning of visual features by contrasting cluster assignments" (SwAV), sec. 3.3,
    for multi-crop.
    """

    def __init__(
        self,
        size: int,
        num_views: int = 2,
        order: Sequence[str] = OPS,
        crop_scale: Sequence[float] = (0.08, 1.0),
        crop_ratio: Sequence[float] = (3 / 4, 4 / 3),
        crop_form: str = "redraw",
        interpolation: str = "bilinear",
        antialias: bool = True,
        flip: float = 0.5,
        jitter: float = 0.8,
        brightness: float = 0.8,
        contrast: float = 0.8,
        saturation: float = 0.8,
        hue: float = 0.2,
        brightness_form: str = "multiply",
        contrast_form: str = "gray",
        saturation_form: str = "gray",
        jitter_order: str = "random",
        grayscale: float = 0.2,
        blur: float = 0.5,
        blur_sigma: Sequence[float] = (0.1, 2.0),
        blur_kernel: int | None = None,
        blur_padding: str = "reflect",
        solarize: float = 0.0,
        solarize_threshold: float = 0.5,
        views: Sequence[Mapping[str, Any]] = (),
        small: Mapping[str, Any] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        given = locals()  # each knob of a view is an argument of the same name
        shared = view_settings(**{knob: given[knob] for knob in KNOBS})
        self._settings = settings_of_views(shared, num_views, views, small)
        self.sizes = [settings.size for settings in self._settings]
        self.size, self.num_views, self.seed = size, len(self._settings), seed
        self._mean, self._std = channel_scale(mean, std)

    def draw(
        self, index: Tensor, epoch: int, view: int, height: Tensor | int, width: Tensor | int
    ) -> ViewParameters:
        """Draw the parameters of one view.

        Args:
            index: Int64 CPU tensor (N,), the images' positions in the training split.
            epoch: Number of the epoch.
            view: Number of the view, from 0.
            height: Height of the images in pixels, one for all or (N,).
            width: Width likewise.

        Returns:
            The same parameters for an index, whatever the other entries are.
        """
        return draw(self._settings[view], index, (self.seed, epoch, view), height, width)

    def crop(self, image: Tensor, index: int, epoch: int) -> list[Tensor]:
        """The crops of one image, for workers that load mixed sizes; `__call__` does the rest.

        Args:
            image: Uint8 CPU tensor (3, H, W).
            index: The image's position in the training split.
            epoch: Number of the epoch.

        Returns:
            V uint8 tensors (3, S, S), each of its view's size, cropped to the boxes that `draw`
            gives; not yet flipped.
        """
        height, width = image.shape[1:]
        crops = []
        for view, settings in enumerate(self._settings):
            key = (self.seed, epoch, view)
            top, left, h, w = draw_box(settings, index, key, height, width)
            crops.append(_resized(image[None, :, top : top + h, left : left + w], settings)[0])
        return crops

    @torch.no_grad()
    def __call__(
        self,
        images: Tensor | Sequence[Tensor],
        index: Tensor,
        epoch: int,
        device: torch.device | str | None = None,
    ) -> list[Tensor]:
        """Make the views of a batch.

        Args:
            images: Uint8 tensor (N, 3, H, W), or V uint8 tensors (N, 3, S, S) from `crop`.
            index: Int64 tensor (N,), positions in the training split; a GPU tensor makes the host
                wait.
            epoch: Number of the epoch.
            device: Where the views are made; None = where the images are.

        Returns:
            V float32 tensors (N, 3, S, S), each of its view's size, normalised if mean and std are
            given.

        Raises:
            UserError: If the images are not uint8, or there are not V batches of crops.
        """
        batches = [images] if isinstance(images, Tensor) else list(images)
        cropped = not isinstance(images, Tensor)
        expected = self.num_views if cropped else 1
        if len(batches) != expected or any(batch.dtype != torch.uint8 for batch in batches):
            raise UserError(
                f"{len(batches)} tensor(s) of {[str(b.dtype) for b in batches]} to augment: give "
                f"one uint8 tensor of images, or a list of {self.num_views} uint8 tensors"
            )
        where = torch.device(device) if device is not None else batches[0].device
        batches = [image_ops.to_device(batch, where) for batch in batches]
        index, views = index.cpu(), []
        # Not in half precision, even if the caller's forward pass is.
        with torch.autocast(where.type, enabled=False):
            for view, settings in enumerate(self._settings):
                batch = batches[view if cropped else 0]
                parameters = self.draw(index, epoch, view, batch.shape[2], batch.shape[3])
                views.append(self._view(batch, parameters, settings, cropped))
        return views

    def _view(
        self, images: Tensor, parameters: ViewParameters, settings: ViewSettings, cropped: bool
    ) -> Tensor:
        p = parameters
        # All other ops are symmetric in left and right, so the flip may be here, where it is free.
        if cropped:
            view = image_ops.hflip(images, p.flip).float().div_(255)
        else:
            how = (settings.size, settings.interpolation, p.flip, settings.antialias)
            view = image_ops.resized_crop(images, p.boxes, *how)
        for op in settings.order:
            if op == "jitter":
                values = (p.brightness, p.contrast, p.saturation, p.hue, p.order)
                jitter = partial(image_ops.color_jitter, forms=settings.jitter_forms)
                view = image_ops.on_rows(view, _rows(p.jitter), jitter, *values)
            elif op == "grayscale":
                view = image_ops.on_rows(view, _rows(p.grayscale), image_ops.grayscale)
            elif op == "blur":
                width, padding = settings.blur_width, settings.blur_padding
                blur = partial(image_ops.gaussian_blur, kernel_size=width, padding=padding)
                view = image_ops.on_rows(view, _rows(p.blur), blur, p.blur_sigma)
            elif op == "solarize":
                solarize = partial(image_ops.solarize, threshold=settings.solarize_threshold)
                view = image_ops.on_rows(view, _rows(p.solarize), solarize)
        if self._mean is not None and self._std is not None:
            view = view.sub_(image_ops.to_device(self._mean, view.device))
            view = view.div_(image_ops.to_device(self._std, view.device))
        return view


def _rows(mask: Tensor) -> Tensor:
    return mask.nonzero()[:, 0]


def _resized(box: Tensor, settings: ViewSettings) -> Tensor:
    """A uint8 image (1, 3, H, W) at a view's size, rounded to uint8."""
    if settings.antialias:
        side = (settings.size, settings.size)
        return interpolate(box, side, mode=settings.interpolation, antialias=True)
    # without antialiasing, torch's bicubic filter is another than TensorFlow's and Pillow's
    whole = torch.tensor([[0, 0, *box.shape[2:]]])
    resized = image_ops.resized_crop(
        box, whole, settings.size, settings.interpolation, antialias=False
    )
    return resized.mul_(255).round_().byte()
