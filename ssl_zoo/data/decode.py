"""One image file as an array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_zoo.data.kinds import formats, hint
from ssl_zoo.types import UserError

FULL_RANGE = 65535  # white in 16 bits, if nothing else is said

_ORIENTATION_TAG = 0x0112
_SAMPLES_TAG = 277  # TIFF: channels of a pixel
# Formats of films and pages. In others, such as MPO, what follows are previews and layers.
_SEVERAL = {"TIFF", "GIF", "WEBP", "PNG", "AVIF", "HEIF", "FLI", "DCX"}
_FEW_LEVELS = 16  # of transparency, as drawn by programs; a measured channel has more
_FEW_PIXELS = 64  # below which that cannot be told


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Header(NamedTuple):
    """What a file's header says.

    Attributes:
        size: (H, W) of the upright image.
        frames: Of an animation, or pages; only the first is read.
        orientation: EXIF's, 1 to 8; from 5 on, height and width of the stored image are exchanged.
        deep: Whether it has 16 bits, of one or several channels.
    """

    size: tuple[int, int]
    frames: int
    orientation: int
    deep: bool


def _open(path: str | Path) -> Image.Image:
    return Image.open(path, formats=formats())


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8, as far as the header tells.

    Read before the pixels by `header` and `decode` alike, so that the two always agree.
    """
    if image.format == "TIFF":
        return 1  # Pillow itself rotates TIFF files, in `size` and in `load`
    try:
        # Not `image.getexif()`, which for PNG files would decode the pixels to look behind them.
        return int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except Exception:  # a malformed EXIF block says nothing about the pixels
        return 1


def rgb(image: Image.Image, white: int | None = None) -> NDArray[np.uint8]:
    """A PIL image as `decode` gives its file.

    Raises:
        ValueError: It has 32-bit values, or a channel that is neither colour nor transparency; or
            whatever Pillow raises on a damaged file.
    """
    turn = _TRANSPOSES.get(_orientation(image))
    _check_channels(image)
    if white is not None and _is_halved(image):
        raise ValueError(
            f"16 bits for each of several channels, of which Pillow reads the upper 8, so that "
            f"white={white} has no effect; save it with 8 bits per channel"
        )
    image.load()
    if image.mode == "I" and image.format == "PPM":  # Pillow has scaled it to 16 bits
        image, white = Image.fromarray(np.asarray(image).astype(np.uint16)), None
    if image.mode in ("F", "I"):  # no range is agreed on for these: do not guess one
        raise ValueError(f"mode {image.mode}, 32 bits per pixel; save it with 8 or 16 bits")
    return _converted(image if turn is None else image.transpose(turn), white)


def _check_channels(image: Image.Image) -> None:
    """Refuse a TIFF of more channels than Pillow will hand out."""
    if image.format != "TIFF":
        return
    samples, read = int(image.tag_v2.get(_SAMPLES_TAG, 1)), len(image.getbands())  # type: ignore[attr-defined]
    if samples > read:
        raise ValueError(f"{samples} channels, of which Pillow reads {read}; save it as RGB")


def _is_halved(image: Image.Image) -> bool:
    """Whether the file has several channels of 16 bits, of which Pillow keeps the upper 8."""
    tiles = getattr(image, "tile", None) or []
    return len(image.getbands()) > 1 and any(";16" in str(tile[3]) for tile in tiles)


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or _is_halved(image)


def _converted(image: Image.Image, white: int | None) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return np.repeat(_scaled(np.asarray(image), white)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, "white")
        rgba = image.convert("RGBA")
        if image.mode in ("RGBA", "LA", "RGBa", "La"):
            pixels = np.asarray(rgba)
            _check_mask(pixels[..., 3], len(image.getbands()))
            if not pixels[..., 3].any() and np.ptp(pixels[..., :3]) > 0:
                raise ValueError("is transparent everywhere, over a picture; save it as RGB")
        image = Image.alpha_composite(over, rgba)
    return np.array(image.convert("RGB"))


def _scaled(gray: NDArray[np.uint16], white: int | None) -> NDArray[np.uint8]:
    """16 bits to 8, so that white stays white; Pillow's own conversion clips all above 255."""
    if white is None or white == FULL_RANGE:
        return ((gray.astype(np.uint32) + 128) // 257).astype(np.uint8)
    levels = np.round(gray.astype(np.float32) * (255 / white))
    return np.minimum(levels, 255).astype(np.uint8)


def _check_mask(alpha: NDArray[np.uint8], channels: int) -> None:
    """Refuse a last channel that is data: masks are mostly 0 or 255, or have few levels.

    Raises:
        ValueError: Saying so.
    """
    if alpha.size < _FEW_PIXELS or len(np.unique(alpha)) <= _FEW_LEVELS:
        return
    if ((alpha == 0) | (alpha == 255)).mean() >= 0.5:
        return
    raise ValueError(
        f"its channel {channels} is no transparency mask (mostly in between 0 and 255) but data, "
        f"such as near infrared; save it without that channel, as {'RGB' if channels > 2 else 'L'} "
        "(if it is soft transparency, over a background of your choice)"
    )


def decode(
    path: str | Path, white: int | None = None, tell: Callable[[int], None] | None = None
) -> NDArray[np.uint8]:
    """One image file as RGB, turned upright; transparency is composited over white.

    Args:
        path: Of any format that Pillow reads; of several frames or pages, the first is taken.
        white: The value that is white in files of 16 bits, such as 4095 if 12 of them are used;
            None = 65535.
        tell: Called with the number of frames or pages after the first, if there are any.

    Returns:
        (H, W, 3) uint8. 16-bit grayscale is scaled by 255/white, so that white stays white.

    Raises:
        UserError: The file is truncated, corrupt, above Pillow's limit, has 32-bit values, or a
            channel that is neither colour nor transparency.
    """
    try:
        with _open(path) as image:
            pixels = rgb(image, white)
            if tell is not None and (frames := _frames(image)) > 1:
                tell(frames - 1)
            return pixels
    except Exception as error:  # Pillow's plugins raise nearly anything on corrupt files
        raise UserError(f"{path} does not decode: {error}{hint(path)}") from error


def header(path: str | Path) -> Header:
    """Size and number of frames, from the header only.

    Raises:
        UserError: The header does not open.
    """
    try:
        with _open(path) as image:
            width, height = image.size
            orientation = _orientation(image)
            size = (width, height) if orientation >= 5 else (height, width)
            return Header(size, _frames(image), orientation, _is_deep(image))
    except Exception as error:
        raise UserError(f"{path} does not open: {error}{hint(path)}") from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of the upright image, from the header only.

    Raises:
        UserError: The header does not open.
    """
    return header(path).size


def _frames(image: Image.Image) -> int:
    if image.format not in _SEVERAL:
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # damaged behind the first, which is all that is read
        return 1


def highest_16_bit(path: str | Path) -> tuple[int, bool] | None:
    """The highest value of a file of 16 bits, and whether Pillow keeps the upper 8 of them only.

    None of other files, and of those that do not decode.
    """
    try:
        with _open(path) as image:
            if not _is_deep(image):
                return None
            halved = _is_halved(image)
            bands = np.asarray(image)
            return int(bands.max()) * (256 if halved else 1) + (255 if halved else 0), halved
    except Exception:
        return None
