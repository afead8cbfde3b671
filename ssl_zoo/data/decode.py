"""One image file as an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_zoo.types import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


_ORIENTATION_TAG = 0x0112


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8, as far as the header tells.

    Read before the pixels by `image_size` and `decode` alike, so that the two always agree.
    """
    if image.format == "TIFF":
        return 1  # Pillow itself rotates TIFF files, in `size` and in `load`
    try:
        # Not `image.getexif()`, which for PNG files would decode the pixels to look behind them.
        return int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except Exception:  # a malformed EXIF block says nothing about the pixels
        return 1


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """A PIL image as `decode` gives its file.

    Raises:
        ValueError: It has 32-bit values; or whatever Pillow raises on a damaged file.
    """
    turn = _TRANSPOSES.get(_orientation(image))
    image.load()
    if image.mode in ("F", "I"):  # no range is agreed on for these: do not guess one
        raise ValueError(f"mode {image.mode}, 32 bits per pixel; save it with 8 or 16 bits")
    return _converted(image if turn is None else image.transpose(turn))


def _converted(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        # 65535 / 257 = 255. Pillow's own conversion clips everything above 255 instead.
        gray = np.asarray(image).astype(np.uint32)
        scaled = ((gray + 128) // 257).astype(np.uint8)
        return np.repeat(scaled[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def decode(path: str | Path) -> NDArray[np.uint8]:
    """One image file as RGB, turned upright; transparency is composited over white.

    Returns:
        (H, W, 3) uint8. 16-bit grayscale is scaled by 1/257, so that white stays white.

    Raises:
        UserError: The file is truncated, corrupt, above Pillow's limit, or has 32-bit values.
    """
    try:
        with Image.open(path) as image:
            return rgb(image)
    except Exception as error:  # Pillow's plugins raise nearly anything on corrupt files
        raise UserError(f"{path} does not decode: {error}") from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of the upright image, from the header only.

    Raises:
        UserError: The header does not open.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (width, height) if _orientation(image) >= 5 else (height, width)
    except Exception as error:
        raise UserError(f"{path} does not open: {error}") from error
