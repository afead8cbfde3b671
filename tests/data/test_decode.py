"""Decoding image files: every format, mode and orientation against expected pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from helpers.pixels import HEIGHT, WIDTH, noise, save, smooth
from ssl_zoo.data.decode import decode, image_size
from ssl_zoo.types import UserError


def over_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


def gray_as_rgb(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([gray] * 3, axis=2)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "PNG"])
def test_lossless_formats_give_exact_pixels(tmp_path: Path, suffix: str) -> None:
    pixels = noise(HEIGHT, WIDTH, 3)
    path = save(tmp_path / f"a.{suffix}", "RGB", pixels)
    np.testing.assert_array_equal(decode(path), pixels)
    assert decode(path).dtype == np.uint8


def test_webp_lossless_gives_exact_pixels(tmp_path: Path) -> None:
    pixels = noise(HEIGHT, WIDTH, 3)
    path = save(tmp_path / "a.webp", "RGB", pixels, lossless=True)
    np.testing.assert_array_equal(decode(path), pixels)


def test_compressed_tiff_gives_exact_pixels(tmp_path: Path) -> None:
    pixels = noise(HEIGHT, WIDTH, 3)
    path = save(tmp_path / "a.tif", "RGB", pixels, compression="tiff_deflate")
    np.testing.assert_array_equal(decode(path), pixels)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_formats_give_close_pixels(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", "RGB", smooth(), quality=95)
    np.testing.assert_allclose(decode(path).astype(int), smooth(), atol=8)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_grayscale_fills_three_channels(tmp_path: Path, suffix: str) -> None:
    gray = noise(HEIGHT, WIDTH)
    path = save(tmp_path / f"a.{suffix}", "L", gray)
    np.testing.assert_array_equal(decode(path), gray_as_rgb(gray))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_one_bit_becomes_black_and_white(tmp_path: Path, suffix: str) -> None:
    bits = noise(HEIGHT, WIDTH, high=2).astype(bool)
    path = save(tmp_path / f"a.{suffix}", "1", bits)
    np.testing.assert_array_equal(decode(path), gray_as_rgb(np.uint8(255) * bits))


def palette_image(rows: NDArray[np.uint8], palette: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(rows).convert("L")
    image = Image.frombytes("P", image.size, rows.tobytes())
    image.putpalette(palette.tobytes())
    return image


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_palette_colours_are_looked_up(tmp_path: Path, suffix: str) -> None:
    rows, palette = noise(HEIGHT, WIDTH, high=4), noise(4, 3)
    palette_image(rows, palette).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(decode(tmp_path / f"a.{suffix}"), palette[rows])


def test_palette_with_one_transparent_colour_is_white_there(tmp_path: Path) -> None:
    rows, palette = noise(HEIGHT, WIDTH, high=4), noise(4, 3)
    palette_image(rows, palette).save(tmp_path / "a.png", transparency=2)
    expected = palette[rows]
    expected[rows == 2] = 255
    np.testing.assert_array_equal(decode(tmp_path / "a.png"), expected)


def test_palette_with_alpha_per_colour_is_composited_over_white(tmp_path: Path) -> None:
    rows, palette = noise(HEIGHT, WIDTH, high=4), noise(4, 3)
    alpha = np.array([0, 80, 160, 255], np.uint8)
    palette_image(rows, palette).save(tmp_path / "a.png", transparency=alpha.tobytes())
    expected = over_white(palette[rows], alpha[rows])
    np.testing.assert_allclose(decode(tmp_path / "a.png"), expected, atol=1)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_rgba_is_composited_over_white(tmp_path: Path, suffix: str) -> None:
    pixels = noise(HEIGHT, WIDTH, 4)
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", "RGBA", pixels, **options)
    expected = over_white(pixels[..., :3], pixels[..., 3])
    np.testing.assert_allclose(decode(path), expected, atol=1)


def test_gray_with_alpha_is_composited_over_white(tmp_path: Path) -> None:
    pixels = noise(HEIGHT, WIDTH, 2)
    path = save(tmp_path / "a.png", "LA", pixels)
    expected = over_white(gray_as_rgb(pixels[..., 0]), pixels[..., 1])
    np.testing.assert_allclose(decode(path), expected, atol=1)


def test_rgb_with_a_transparent_colour_is_white_there(tmp_path: Path) -> None:
    pixels = noise(HEIGHT, WIDTH, 3)
    key = pixels[2, 3]
    path = save(tmp_path / "a.png", "RGB", pixels, transparency=tuple(int(v) for v in key))
    expected = pixels.copy()
    expected[2, 3] = 255
    np.testing.assert_array_equal(decode(path), expected)


def test_cmyk_is_converted_by_its_inks(tmp_path: Path) -> None:
    inks = noise(HEIGHT, WIDTH, 4)
    Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes()).save(tmp_path / "a.tif")
    expected = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255.0
    np.testing.assert_allclose(decode(tmp_path / "a.tif"), expected, atol=1.01)


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(decode(tmp_path / "a.jpg").astype(int), smooth(), atol=12)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path, suffix: str, dtype: str) -> None:
    gray = noise(HEIGHT, WIDTH, high=65536, dtype=np.uint16)
    gray[0, :3] = 0, 255, 65535
    mode = "I;16" if dtype == "<u2" else "I;16B"
    data = gray.astype(dtype).tobytes()
    Image.frombytes(mode, (WIDTH, HEIGHT), data).save(tmp_path / f"a.{suffix}")
    expected = gray_as_rgb(np.round(gray / 257).astype(np.uint8))
    np.testing.assert_array_equal(decode(tmp_path / f"a.{suffix}"), expected)


@pytest.mark.parametrize(("mode", "dtype"), [("F", np.float32), ("I", np.int32)])
def test_thirty_two_bit_modes_are_refused_by_name(tmp_path: Path, mode: str, dtype: type) -> None:
    path = save(tmp_path / "deep.tif", mode, noise(HEIGHT, WIDTH).astype(dtype))
    with pytest.raises(UserError, match=rf"deep\.tif .*mode {mode}\b"):
        decode(path)


def stored_for(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """How a camera that writes this orientation stores an upright image (EXIF 2.3, tag 0x0112).

    The comments name the sides of the upright image that the stored row 0 and column 0 are.
    """
    turned = upright if orientation < 5 else upright.swapaxes(0, 1)
    flip_rows, flip_columns = {
        1: (False, False),  # row 0 is the top, column 0 the left
        2: (False, True),  # top, right
        3: (True, True),  # bottom, right
        4: (True, False),  # bottom, left
        5: (False, False),  # left, top
        6: (True, False),  # right, top
        7: (True, True),  # right, bottom
        8: (False, True),  # left, bottom
    }[orientation]
    return turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_exif_orientation_is_undone(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(stored_for(smooth(), orientation))
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    options |= {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    path = save(tmp_path / f"a.{suffix}", "RGB", stored, exif=exif, **options)
    decoded = decode(path)
    np.testing.assert_allclose(decoded.astype(int), smooth(), atol=8 if suffix == "jpg" else 0)
    assert image_size(path) == (48, 80)


def test_sixteen_bit_gray_is_turned_too(tmp_path: Path) -> None:
    upright = noise(HEIGHT, WIDTH, high=65536, dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.ascontiguousarray(stored_for(upright, 6))
    path = save(tmp_path / "a.png", "I;16", stored, exif=exif)
    expected = gray_as_rgb(np.round(upright / 257).astype(np.uint8))
    np.testing.assert_array_equal(decode(path), expected)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
def test_truncated_file_is_an_error_with_its_path(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"cut.{suffix}", "RGB", noise(48, 80, 3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"cut\.{suffix}"):
        decode(path)


@pytest.mark.parametrize("content", [b"", b"<html>404 not found</html>"])
def test_file_that_is_no_image_is_an_error_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"page\.jpg does not decode"):
        decode(path)
    with pytest.raises(UserError, match=r"page\.jpg does not open"):
        image_size(path)


def test_image_size_reads_only_the_header(tmp_path: Path) -> None:
    path = save(tmp_path / "cut.png", "RGB", noise(48, 80, 3))
    path.write_bytes(path.read_bytes()[:200])
    assert image_size(path) == (48, 80)


def test_decompression_bomb_is_an_error_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "huge.png", "RGB", noise(48, 80, 3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 80 // 2 - 1)
    with pytest.raises(UserError, match=r"huge\.png"):
        decode(path)
    with pytest.raises(UserError, match=r"huge\.png"):
        image_size(path)
