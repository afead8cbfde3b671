"""Preprocessing of clean images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from helpers.pixels import smooth
from ssl_zoo.data import Preprocess
from ssl_zoo.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ssl_zoo.types import UserError

PIXELS = smooth()  # 48 x 80
CHW = torch.from_numpy(PIXELS).permute(2, 0, 1)


def test_preprocess_resizes_crops_and_normalises() -> None:
    preprocess = Preprocess(32, 0.875, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1])
    images = torch.full((2, 3, 60, 90), 255, dtype=torch.uint8)
    out = preprocess(images)
    assert out.shape == (2, 3, 32, 32)
    torch.testing.assert_close(out[0, :, 5, 5], torch.tensor([2.5, 3.0, 7.0]))
    exact = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(preprocess.geometry(exact), exact)
    again = Preprocess(**preprocess.options())
    assert torch.equal(again(exact), preprocess(exact))


def of_torchvision(image: Image.Image, shorter: int, size: int) -> torch.Tensor:
    steps = [
        transforms.Resize(shorter),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    prepared: torch.Tensor = transforms.Compose(steps)(image)
    return prepared


def test_pil_images_of_any_size_are_prepared_as_torchvision_does() -> None:
    images = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[:, 10:40])]
    expected = torch.stack([of_torchvision(image, 32, 28) for image in images])
    found = Preprocess(28, 0.875)(images)
    # Pillow and torch round a resized pixel either way.
    torch.testing.assert_close(found, expected, atol=1.01 / 255 / min(IMAGENET_STD), rtol=0)
    assert not torch.allclose(found[0], expected[1], atol=0.1)


def test_every_kind_gives_what_the_tensor_gives(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    preprocess = Preprocess(28, 0.875)
    one = preprocess(CHW[None])
    kinds: list[Any] = [Image.fromarray(PIXELS), PIXELS, CHW, CHW.numpy(), tmp_path / "a.png"]
    for image in kinds:
        assert torch.equal(preprocess(image), one)  # a batch of one
        assert torch.equal(preprocess([image, image]), one.expand(2, -1, -1, -1))
    for batch in (np.stack([PIXELS] * 2), np.stack([CHW.numpy()] * 2)):
        assert torch.equal(preprocess(batch), one.expand(2, -1, -1, -1))
    grey = preprocess(Image.fromarray(PIXELS).convert("L"))
    assert grey.shape == one.shape
    assert not torch.equal(grey, one)


def test_tensors_keep_their_leading_axes() -> None:
    images = torch.randint(0, 256, (2, 4, 3, 40, 60), dtype=torch.uint8)
    preprocess = Preprocess(28, 0.875)
    assert torch.equal(preprocess(images)[1], preprocess(images[1]))
    assert preprocess(images[:0, 0]).shape == (0, 3, 28, 28)


@pytest.mark.parametrize("images", [CHW[None].float() / 255, PIXELS / 255.0, [CHW.float()]])
def test_floats_are_refused_with_the_conversion(images: Any) -> None:
    with pytest.raises(UserError, match=r"^images.*: values are float.*\(x \* 255\)\.round"):
        Preprocess(28)(images)


@pytest.mark.parametrize(
    ("preprocess", "line"),
    [
        (
            Preprocess(224, 0.875),
            "Preprocess(resize the shorter side to 256, crop the centre 224 x 224 (images of "
            "224 x 224 stay as they are), scale to [0, 1], normalise by mean "
            "[0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225])",
        ),
        (
            Preprocess(32, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 1 / 3]),
            "Preprocess(resize the shorter side to 32, crop the centre 32 x 32, scale to [0, 1], "
            "normalise by mean [0.5, 0.4, 0.3] and std [0.2, 0.2, 0.3333])",
        ),
        (
            Preprocess(96, mean=[0, 0, 0], std=[1, 1, 1]),
            "Preprocess(resize the shorter side to 96, crop the centre 96 x 96, scale to [0, 1])",
        ),
    ],
)
def test_printing_it_says_what_it_does(preprocess: Preprocess, line: str) -> None:
    assert str(preprocess) == line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"mean": ["a", 0, 0]}, r"^mean=\['?a'?, 0, 0\]: must be three numbers"),
        ({"mean": [0.5]}, r"^mean=\[0\.5\]: must be three numbers"),
        ({"std": [0.2, 0.2, float("nan")]}, r"^std=\[0\.2, 0\.2, nan\]: must be three numbers"),
        ({"std": [0.2, 0.2, 0.0]}, r"^std=\[0\.2, 0\.2, 0\.0\]: must be above 0$"),
        ({"mean": [123.7, 116, 103]}, r"is not of images scaled to \[0, 1\]: divide it by 255$"),
        ({"std": [58.4, 57.1, 57.4]}, r"^std=\[58\.4, 57\.1, 57\.4\] is not of images scaled to"),
    ],
)
def test_statistics_that_make_no_sense(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        Preprocess(4, **options)


def test_a_whole_crop_is_the_same_however_it_is_typed() -> None:
    assert repr(Preprocess(4, 1).options()) == repr(Preprocess(4, 1.0).options())
