"""Anything that is an image comes out as the same uint8 (3, H, W)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from helpers.files import write_image
from helpers.pixels import HEIGHT, WIDTH, noise, save
from ssl_zoo.data.decode import decode
from ssl_zoo.data.pixels import readers
from ssl_zoo.types import UserError

RGB = noise(HEIGHT, WIDTH, 3)
CHW = pil_to_tensor(Image.fromarray(RGB))


def read(images: Any) -> list[Tensor]:
    return [reader() for reader in readers(images)]


def same(images: Any, *expected: Tensor) -> None:
    found = read(images)
    assert len(found) == len(expected)
    for image, reference in zip(found, expected, strict=True):
        assert image.dtype == torch.uint8
        assert image.is_contiguous()
        assert torch.equal(image, reference)


KINDS: dict[str, Callable[[], Any]] = {
    "PIL": lambda: Image.fromarray(RGB),
    "HWC array": lambda: RGB,
    "HWC tensor": lambda: torch.from_numpy(RGB),
    "CHW array": lambda: CHW.numpy(),
    "CHW tensor": lambda: CHW,
    "array that runs backwards": lambda: RGB[..., ::-1].copy()[..., ::-1],
    "array that cannot be written": lambda: np.frombuffer(RGB.tobytes(), "u1").reshape(RGB.shape),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_image(kind: str) -> None:
    same(KINDS[kind](), CHW)
    same([KINDS[kind](), KINDS[kind]()], CHW, CHW)


def test_a_file(tmp_path: Path) -> None:
    pixels = write_image(tmp_path / "a.png", seed=3, size=(7, 9))
    expected = pil_to_tensor(Image.fromarray(pixels))
    same(tmp_path / "a.png", expected)
    same(str(tmp_path / "a.png"), expected)
    same(np.array([str(tmp_path / "a.png")] * 2), expected, expected)


def test_a_batch_is_its_images() -> None:
    other = CHW.flip(1)
    nchw = torch.stack([CHW, other])
    nhwc = nchw.permute(0, 2, 3, 1)
    for batch in (nchw, nhwc, nchw.numpy(), nhwc.numpy()):
        same(batch, CHW, other)
    same([nchw.numpy(), other], CHW, other, other)


def test_a_tensor_of_three_columns_is_channels_first() -> None:
    nchw = CHW[None, :, :, :3]
    same(nchw, nchw[0])


def test_the_images_of_a_list_may_differ_in_size(tmp_path: Path) -> None:
    narrow = CHW[:, :, :4].contiguous()
    pixels = write_image(tmp_path / "a.png", seed=3, size=(7, 9))
    images = [CHW, Image.fromarray(RGB[:, :4]), tmp_path / "a.png"]
    same(images, CHW, narrow, pil_to_tensor(Image.fromarray(pixels)))


@pytest.mark.parametrize("shape", [(6, 10), (6, 10, 1), (1, 6, 10), (1, 6, 10, 1), (1, 1, 6, 10)])
@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_grey_fills_three_channels(shape: tuple[int, ...], make: Callable[..., Any]) -> None:
    grey = noise(HEIGHT, WIDTH)
    expected = pil_to_tensor(Image.fromarray(grey).convert("RGB"))
    same(make(grey.reshape(shape)), expected)
    same(Image.fromarray(grey), expected)


def test_transparency_is_over_white() -> None:
    rgba = noise(HEIGHT, WIDTH, 4)
    share = rgba[..., 3:] / 255
    expected = torch.from_numpy(rgba[..., :3] * share + 255 * (1 - share)).permute(2, 0, 1)
    for images in (Image.fromarray(rgba), rgba, rgba.transpose(2, 0, 1), torch.tensor(rgba)[None]):
        (image,) = read(images)
        torch.testing.assert_close(image.double(), expected, atol=1, rtol=0)


def test_a_palette_is_looked_up() -> None:
    image = Image.fromarray(RGB).quantize(4)
    expected = np.asarray(image.getpalette()).reshape(-1, 3)[np.asarray(image)]
    same(image, torch.from_numpy(expected.astype(np.uint8)).permute(2, 0, 1))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
@pytest.mark.parametrize("converted", [False, True])
def test_an_opened_file_is_turned_as_the_file_is(
    tmp_path: Path, suffix: str, converted: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # row 0 is the right side
    path = save(tmp_path / f"a.{suffix}", "RGB", RGB, exif=exif)
    with Image.open(path) as image:
        opened = image.convert("RGB") if converted else image
        (found,) = read(opened)
    assert found.shape == (3, WIDTH, HEIGHT)
    assert torch.equal(found, torch.from_numpy(decode(path)).permute(2, 0, 1))
    with Image.open(path) as image:
        assert torch.equal(found, pil_to_tensor(ImageOps.exif_transpose(image)))


def test_sixteen_bits_of_grey_in_an_image_are_scaled() -> None:
    deep = noise(HEIGHT, WIDTH, high=65536, dtype=np.uint16)
    expected = torch.from_numpy(np.round(deep / 257).astype(np.uint8)).expand(3, -1, -1)
    same(Image.fromarray(deep), expected)


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", seed=0)
    pixels = np.zeros((2, 4, 5, 3), np.uint8)
    later = [*readers(tmp_path / "a.png"), *readers(pixels)]
    new = write_image(tmp_path / "a.png", seed=1)
    pixels[1] = 7
    found = [reader() for reader in later]
    assert torch.equal(found[0], pil_to_tensor(Image.fromarray(new)))
    assert [int(image.max()) for image in found[1:]] == [0, 7]


DATA: list[tuple[Any, str]] = [
    ([], r"^images is empty: give at least one image$"),
    ([CHW, []], r"^images\[1\] is empty"),
    (np.zeros((0, 3, 4, 5), np.uint8), "^images is empty"),
    (None, "^images is of type NoneType: give a path, a PIL image, a uint8 array"),
    ({"a.png": 1}, "^images is of type dict: "),
    ([CHW, 3], r"^images\[1\] is of type int: "),
    ([(CHW, 3)], r"^images\[0\]\[1\] is of type int: "),
    (["missing.png"], r"^images\[0\]=missing.png does not exist: give the path of an image"),
    ([CHW, "."], r"^images\[1\]=\. is a folder: give the path of an image file$"),
    (np.zeros((5, 5, 2), np.uint8), r"^images: shape \(5, 5, 2\) is not one of .*4 \(RGBA\)$"),
    ([CHW, torch.zeros(2, 5, 5).byte()], r"^images\[1\]: shape \(2, 5, 5\) is not one of "),
    (np.zeros(5, np.uint8), r"^images: shape \(5,\) is not one of "),
    (np.zeros((0, 5), np.uint8), r"^images: shape \(0, 5\) is not one of "),
    (np.zeros((2, 2, 5, 5, 3), np.uint8), r"^images: shape \(2, 2, 5, 5, 3\) is not one of "),
    (np.zeros((3, 5, 3), np.uint8), r"^images: shape \(3, 5, 3\) may be channels first or last; "),
    (np.zeros((9, 3, 5, 3), np.uint8), r"shape \(9, 3, 5, 3\) may be channels first or last; "),
]


@pytest.mark.parametrize(("images", "line"), DATA, ids=[line[:40] for _, line in DATA])
def test_what_is_refused(images: Any, line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        readers(images)
    assert "\n" not in str(error.value)


TYPES: list[tuple[Any, str]] = [
    (np.array([0.0, 1.0], np.float32), "float32"),
    (np.array([0.0, 1.0]), "float64"),
    (torch.tensor([0.0, 1.0]), "float32"),
    (torch.tensor([0.0, 1.0]).bfloat16(), "bfloat16"),
    (np.array([0, 65535], np.uint16), "uint16"),
    (torch.tensor([0, 65535]).to(torch.uint16), "uint16"),
    (np.array([False, True]), "bool"),
    (torch.tensor([False, True]), "bool"),
    (np.array([0, 255]), "int64"),
    (torch.tensor([0, 255]), "int64"),
]


@pytest.mark.parametrize(("ends", "kind"), TYPES, ids=[f"{type(a)} {k}" for a, k in TYPES])
def test_other_types_are_refused_with_a_conversion_that_works(ends: Any, kind: str) -> None:
    """The code in the line turns black and white of that type into black and white."""
    x = ends.reshape(1, 2)
    with pytest.raises(UserError, match=f"^images: values are {kind}, must be uint8 ") as error:
        readers(x)
    (code,) = re.findall(r"\(?x\S*(?: [*/] \d+\)\S*)?\.(?:astype|to)\(\S+\)", str(error.value))
    converted = eval(code, {"x": x, "torch": torch})
    same(converted, torch.tensor([[[0, 255]]] * 3, dtype=torch.uint8))


def test_what_does_not_decode_names_itself(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    (reader,) = readers(tmp_path / "notes.txt")
    with pytest.raises(UserError, match=r"notes\.txt does not decode: .*; repair it or leave it"):
        reader()
    _, reader = readers([CHW, Image.fromarray(noise(4, 4).astype(np.float32))])
    with pytest.raises(UserError, match=r"^images\[1\] does not decode: mode F, 32 bits per pixel"):
        reader()
