"""Image operations on whole batches, with one parameter per image, in plain torch.

Images are float tensors (N, 3, H, W) in [0, 1]. Each operation equals torchvision's functional one
of the same name on float tensors, and returns a new tensor; those in `FORMS` and the arguments
`antialias` and `padding` are the forms that the papers' own code has instead. Parameters may stay
on the CPU: they are moved to the images' device without a synchronisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

# The numbers in `order`, as in torchvision's ColorJitter.
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor; from CPU to GPU via pinned memory, so that the host does not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    """(N,) on any device -> (N, 1, 1, 1) of the images' device and dtype."""
    return to_device(values.to(images.dtype), images.device)[:, None, None, None]


def on_rows(
    images: Tensor, rows: Tensor, operation: Callable[..., Tensor], *parameters: Tensor
) -> Tensor:
    """Apply an operation to some images of a batch, in place unless it is all of them.

    Args:
        images: Float tensor (N, 3, H, W); overwritten.
        rows: Int64 CPU tensor of the images' positions in the batch.
        operation: Called as `operation(images[rows], *(p[rows] for p in parameters))`.
        *parameters: CPU tensors with N rows.

    Returns:
        Tensor (N, 3, H, W).
    """
    if len(rows) == 0:
        return images
    if len(rows) == len(images):
        return operation(images, *parameters)
    chosen = to_device(rows, images.device)
    changed = operation(images.index_select(0, chosen), *(values[rows] for values in parameters))
    return images.index_copy_(0, chosen, changed)


def _triangle(x: Tensor) -> Tensor:
    return x.abs_().neg_().add_(1).clamp_(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -1/2, which Pillow and torch use when they antialias."""
    x = x.abs_().clamp_(max=2)
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2  # 1 <= |x| <= 2, and 0 at 2
    below_one = (1 - x).clamp_(min=0)
    return outer.addcmul_(below_one.square(), 2 * x - 1)


_FILTERS = {"bilinear": _triangle, "bicubic": _cubic}


def _resize_matrix(
    start: Tensor,
    length: Tensor,
    in_size: int,
    size: int,
    interpolation: str,
    flip: Tensor | None,
    antialias: bool,
) -> Tensor:
    """(N, size, in_size): row i of matrix n has the weights of the input pixels of output pixel i.

    Pixels outside [start, start + length) have weight 0, and each row sums to 1. To antialias, the
    filter is stretched by the shrink factor.
    """
    position = torch.arange(in_size, device=start.device) + 0.5
    output = torch.arange(size, device=start.device) + 0.5
    start, length = start[:, None, None].float(), length[:, None, None].float()
    target = output[None, :, None]
    if flip is not None:
        target = torch.where(flip[:, None, None], size - target, target)
    scale = length / size
    distance = position - (start + target * scale)
    if antialias:
        distance = distance / scale.clamp(min=1)
    weight = _FILTERS[interpolation](distance)
    weight *= (position > start) & (position < start + length)
    return weight.div_(weight.sum(-1, keepdim=True))


def resized_crop(
    images: Tensor,
    boxes: Tensor,
    size: int,
    interpolation: str = "bilinear",
    flip: Tensor | None = None,
    antialias: bool = True,
) -> Tensor:
    """Cut a box out of each image and resize it to a square, by two batched matmuls.

    Args:
        images: Tensor (N, 3, H, W), uint8 in 0..255 or float in [0, 1].
        boxes: Int64 tensor (N, 4): top, left, height, width in pixels, inside the image.
        size: Side of the output in pixels.
        interpolation: "bilinear", or "bicubic", whose overshoot is clamped to [0, 1].
        flip: Bool tensor (N,): crops to mirror left to right; costs nothing here.
        antialias: As Pillow and torchvision do; False = `tf.image.resize` of TensorFlow 2.

    Returns:
        Float tensor (N, 3, size, size) in [0, 1].
    """
    n, channels, height, width = images.shape
    top, left, box_height, box_width = to_device(boxes, images.device).unbind(1)
    flip = None if flip is None else to_device(flip, images.device)
    rows = _resize_matrix(top, box_height, height, size, interpolation, None, antialias)
    columns = _resize_matrix(left, box_width, width, size, interpolation, flip, antialias)
    if not images.is_floating_point():
        rows /= 255  # cheaper than a pass over the images
        images = images.float()
    narrow = torch.bmm(images.reshape(n, channels * height, width), columns.to(images.dtype).mT)
    narrow = narrow.view(n, channels, height, size)
    resized = torch.matmul(rows.to(images.dtype)[:, None], narrow)
    return resized.clamp_(0, 1) if interpolation == "bicubic" else resized


def hflip(images: Tensor, where: Tensor) -> Tensor:
    """Flip left to right the images (N, 3, H, W) of any dtype whose `where` (N,) is true."""
    rows = where.cpu().nonzero()[:, 0]
    return on_rows(images.clone(), rows, lambda chosen: chosen.flip(-1))


def _gray(images: Tensor) -> Tensor:
    """(N, 1, H, W): luma with ITU-R 601 weights, rounded as torchvision rounds them."""
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def grayscale(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) with all three channels equal to the luma."""
    return _gray(images).repeat(1, images.shape[1], 1, 1)


def adjust_hue(images: Tensor, factor: Tensor) -> Tensor:
    """Turn the hue of images (N, 3, H, W) by factor (N,), in turns of the circle, [-0.5, 0.5].

    Signs and offsets replace the cases of RGB to HSV, since `torch.where` is 20 times slower
    than arithmetic. From hue h, a channel is value - chroma * clamp(2 - 6 |h - h0|, 0, 1), where
    |.| is the distance on the circle and h0 the hue opposite to the channel: HSV to RGB without
    cases.
    """
    red, green, blue = images.unbind(1)
    one = images.new_ones(())
    larger, smaller = torch.maximum(green, blue), torch.minimum(green, blue)
    value, middle = torch.maximum(red, larger), torch.minimum(red, larger)
    chroma = value - torch.minimum(middle, smaller)
    green_leads = torch.copysign(one, green - blue)  # 1 or -1
    red_leads = torch.copysign(one, red - larger)
    # Hue in turns: +-x where red leads; 1/3 - x where green does; 2/3 + x where blue does.
    hue = middle.sub_(smaller).div_(chroma.mul(6).clamp_(min=1e-12))
    hue = hue.mul_(green_leads).mul_(red_leads)
    hue = hue.add_(green_leads.sub_(3).mul_(red_leads.sub_(1)), alpha=1 / 12)
    hue = hue.add_(_per_image(factor, images)[:, 0])
    share = torch.empty_like(images)
    for channel, opposite in enumerate((1 / 2, 5 / 6, 1 / 6)):
        torch.sub(hue, opposite, out=share[:, channel])
    share = share.sub_(share.round()).abs_().mul_(-6).add_(2).clamp_(0, 1)
    return torch.sub(value[:, None], share.mul_(chroma[:, None]))


def add_brightness(images: Tensor, delta: Tensor) -> Tensor:
    """Add delta (N,) to all values of images (N, 3, H, W).

    Source: `tf.image.adjust_brightness`; Grill et al. 2020 (BYOL), official code.
    """
    return images.add(_per_image(delta, images)).clamp_(0, 1)


def adjust_channel_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Contrast around the mean of each channel by factor (N,), not around the mean luma.

    Source: `tf.image.adjust_contrast`, which SimCLR's and BYOL's official code use.
    """
    mean = images.mean((2, 3), keepdim=True)
    return images.sub(mean).mul_(_per_image(factor, images)).add_(mean).clamp_(0, 1)


def adjust_hsv_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the saturation in HSV by factor (N,); hue and value stay, and it ends at 1.

    A channel is value - (value - channel), and both saturation and that difference are
    proportional to the chroma; saturation 1 is a difference of `value` in the least channel.

    Source: `tf.image.adjust_saturation`, which SimCLR's and BYOL's official code use.
    """
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    factor = torch.minimum(_per_image(factor, images), value / chroma.clamp_min(1e-12))
    return torch.lerp(value, images, factor).clamp_(0, 1)


# The operations of the jitter that are not blends as torchvision's: by the name of their form.
FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": add_brightness,
    "channel": adjust_channel_contrast,
    "hsv": adjust_hsv_saturation,
}


def _blend_(images: Tensor, operation: Tensor, factor: Tensor) -> Tensor:
    """Brightness, contrast or saturation, whichever `operation` (N,) says, in place.

    All three are clamp(f x + (1 - f) reference): of black, of the mean luma or of the luma.
    """
    rest = 1 - factor
    contrast, saturation = operation == CONTRAST, operation == SATURATION
    reference: Tensor | None = None
    if bool((contrast | saturation).any()):
        reference = _gray(images)
        mean = reference.mean((1, 2, 3), keepdim=True)
        reference = reference.mul_(_per_image(rest * saturation, images))
        reference = reference.add_(mean.mul_(_per_image(rest * contrast, images)))
    images.mul_(_per_image(factor, images))
    if reference is not None:
        images.add_(reference)
    return images.clamp_(0, 1)


def color_jitter(
    images: Tensor,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor,
    order: Tensor | None = None,
    forms: Mapping[int, str] | None = None,
) -> Tensor:
    """Brightness, contrast, saturation and hue, in a separate order for each image.

    Args:
        images: Float tensor (N, 3, H, W) in [0, 1].
        brightness: CPU tensor (N,), factor; 1 = unchanged.
        contrast: CPU tensor (N,), likewise.
        saturation: CPU tensor (N,), likewise.
        hue: CPU tensor (N,), in turns; 0 = unchanged.
        order: Int64 CPU tensor (N, 4), each row a permutation of 0 brightness, 1 contrast,
            2 saturation, 3 hue; None = in this order for all.
        forms: The keys of `FORMS` for those of the first three that are not torchvision's.

    Returns:
        Float tensor (N, 3, H, W) in [0, 1].
    """
    if order is None:
        order = torch.arange(4).expand(len(images), 4)
    values = (brightness, contrast, saturation, hue)
    own = {HUE: adjust_hue} | {number: FORMS[name] for number, name in (forms or {}).items()}
    one = torch.ones_like(hue)
    factors = torch.stack([one if i in own else values[i] for i in range(4)], dim=1)
    images = images.clone()
    for slot in order.unbind(1):
        blended = slot.clone()
        for number in own:
            blended[slot == number] = HUE
        if bool((blended != HUE).any()):
            images = _blend_(images, blended, factors.gather(1, slot[:, None])[:, 0])
        # Each costs more than the blends together: only for the images that are due.
        for number, operation in own.items():
            due = slot == number
            if number == HUE:
                due &= hue != 0
            images = on_rows(images, due.nonzero()[:, 0], operation, values[number])
    return images


def _blur_matrix(weight: Tensor, size: int, padding: str) -> Tensor:
    """Kernels (N, k) -> (N, size, size) matrices that convolve, with the border as `padding`."""
    taps = weight.shape[1]
    pixel = torch.arange(size, device=weight.device)
    source = pixel + torch.arange(taps, device=weight.device)[:, None] - taps // 2
    if padding == "reflect":  # with zeros, what lies outside equals no pixel
        source = source.abs()
        source = (size - 1) - (size - 1 - source).abs()
    one_hot = (source[:, :, None] == pixel).to(weight.dtype)
    return (weight @ one_hot.view(taps, -1)).view(-1, size, size)


def gaussian_blur(
    images: Tensor, sigma: Tensor, kernel_size: int, padding: str = "reflect"
) -> Tensor:
    """Gaussian blur of images (N, 3, H, W) by two batched matmuls.

    Args:
        images: Float tensor (N, 3, H, W); H and W must exceed kernel_size // 2.
        sigma: Tensor (N,), standard deviation in pixels.
        kernel_size: Odd width of the kernel in pixels.
        padding: What lies outside: "reflect", or "zero", as in SimCLR's and BYOL's official code.

    Returns:
        Float tensor (N, 3, H, W).
    """
    n, channels, height, width = images.shape
    offset = torch.arange(kernel_size, device=images.device) - kernel_size // 2
    sigma = _per_image(sigma, images)[:, :, 0, 0]
    weight = torch.softmax(-0.5 * (offset / sigma) ** 2, dim=1)
    columns, rows = (_blur_matrix(weight, side, padding) for side in (width, height))
    blurred = torch.bmm(images.reshape(n, channels * height, width), columns.mT)
    return torch.matmul(rows[:, None], blurred.view(n, channels, height, width))


def solarize(images: Tensor, threshold: Tensor | float) -> Tensor:
    """Invert the values of images (N, 3, H, W) from a threshold, (N,) or one for all, in [0, 1]."""
    if isinstance(threshold, Tensor):
        threshold = _per_image(threshold, images)
    return torch.where(images >= threshold, 1 - images, images)
