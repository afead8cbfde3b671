"""ssl_zoo.embed: the backbone's features of any images, in the order given."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

import ssl_zoo
from helpers.files import write_image
from helpers.tiers import only
from ssl_zoo.data import Preprocess
from ssl_zoo.types import UserError

Pair = tuple[nn.Module, Preprocess]
NAMES = {"b.png": (40, 50), "a/z.png": (32, 32), "a/y.PNG": (64, 33), "c.jpg": (33, 64)}
SORTED = ["a/y.PNG", "a/z.png", "b.png", "c.jpg"]


@pytest.fixture(scope="module")
def pair(trained: Path) -> Pair:
    return ssl_zoo.load_backbone(trained)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images of a few colours, so that resizing rounds little; and what is not an image."""
    for seed, (name, (height, width)) in enumerate(NAMES.items()):
        path = tmp_path / "photos" / name
        coarse = write_image(path, seed, size=(2, 3))
        Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    return tmp_path / "photos"


def by_hand(pair: Pair, images: list[Image.Image]) -> Tensor:
    """One image at a time, by torchvision's transforms on PIL images."""
    backbone, preprocess = pair
    options = preprocess.options()
    assert options["crop_fraction"] == 1.0
    transform = transforms.Compose(
        [
            transforms.Resize(options["image_size"]),
            transforms.CenterCrop(options["image_size"]),
            transforms.ToTensor(),
            transforms.Normalize(options["mean"], options["std"]),
        ]
    )
    with torch.no_grad():
        return torch.cat([backbone(transform(image)[None]) for image in images])


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def close(found: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)
    apart = torch.pdist(expected).min() if len(expected) > 1 else expected.norm()
    assert apart > 10 * atol  # another order would be found


@pytest.mark.parametrize("batch_size", only([3], [1, 3, 64]))
def test_the_rows_are_the_features_of_the_files(
    batch_size: int, photos: Path, trained: Path, pair: Pair
) -> None:
    paths = [photos / name for name in SORTED]
    expected = by_hand(pair, [opened(path) for path in paths])
    found = ssl_zoo.embed(photos, trained, batch_size=batch_size, device="cpu")
    assert found.shape == (4, pair[0].num_features)
    close(found, expected, atol=0.01)
    backwards = ssl_zoo.embed(paths[::-1], pair, batch_size=batch_size, device="cpu")
    close(backwards, found.flip(0))


def test_a_folder_a_glob_and_paths_are_the_same(
    photos: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ssl_zoo.embed([photos / name for name in SORTED], pair, device="cpu")
    monkeypatch.chdir(photos.parent)
    monkeypatch.setenv("HOME", str(photos.parent))
    for images in (photos, "photos", "photos/**/*", "~/photos", str(photos / "**" / "*.*")):
        close(ssl_zoo.embed(images, pair, device="cpu"), expected)
    close(ssl_zoo.embed("photos/*", pair, device="cpu"), expected[2:])
    close(ssl_zoo.embed("photos/a/?.png", pair, device="cpu"), expected[1:2])
    close(ssl_zoo.embed("photos/b.png", pair, device="cpu"), expected[2:3])
    (photos / "b.png").rename(photos / "b[1].png")
    close(ssl_zoo.embed("photos/b[1].png", pair, device="cpu"), expected[2:3])


def test_images_in_memory_are_the_same(pair: Pair) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    images = [Image.fromarray(image) for image in pixels]
    expected = by_hand(pair, images)
    nchw = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    kinds: list[Any] = [images, pixels, list(pixels), nchw, list(nchw), nchw.numpy(), iter(images)]
    for kind in kinds:
        close(ssl_zoo.embed(kind, pair, batch_size=2, device="cpu"), expected)
    for one in (images[3], pixels[3], nchw[3]):
        close(ssl_zoo.embed(one, pair, device="cpu"), expected[3:4])


class Watched(nn.Module):
    """The mean of each channel; remembers how it was called."""

    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.inner = nn.Dropout(0.5)
        self.calls: list[tuple[int, bool, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == self.scale.dtype
        self.calls.append((len(images), self.inner.training, torch.is_grad_enabled()))
        return self.inner(images.mean(dim=(2, 3))) * self.scale


def test_it_runs_in_batches_in_eval_mode_without_gradients() -> None:
    backbone = Watched().train()
    pixels = np.arange(5 * 4 * 4 * 3, dtype=np.uint8).reshape(5, 4, 4, 3)
    preprocess = Preprocess(4, mean=[0, 0, 0], std=[1, 1, 1])
    features = ssl_zoo.embed(pixels, (backbone, preprocess), batch_size=2, device="cpu")
    assert backbone.calls == [(2, False, False), (2, False, False), (1, False, False)]
    assert backbone.training
    assert backbone.inner.training
    torch.testing.assert_close(features, torch.from_numpy(pixels / 255).mean((1, 2)).float())


def test_a_probe_can_be_trained_on_the_features() -> None:
    pair = (Watched().bfloat16(), Preprocess(4))
    features = ssl_zoo.embed(np.zeros((5, 4, 4, 3), np.uint8), pair, device="cpu")
    assert (features.dtype, features.device.type) == (torch.float32, "cpu")
    assert not features.requires_grad
    probe = nn.Linear(3, 2)
    probe(features).sum().backward()
    assert probe.weight.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_is_the_default_and_the_backbone_goes_back(photos: Path, pair: Pair) -> None:
    expected = ssl_zoo.embed(photos, pair, device="cpu")
    found = ssl_zoo.embed(photos, pair)
    assert found.device.type == "cpu"
    close(found, expected, atol=0.01)
    assert {p.device.type for p in pair[0].parameters()} == {"cpu"}


def test_a_line_says_what_was_read(
    photos: Path, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    width = pair[0].num_features
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        ssl_zoo.embed(photos, pair, device="cpu")
        ssl_zoo.embed(np.zeros((2, 5, 5, 3), np.uint8), pair, device="cpu")
    assert caplog.messages == [
        f"embed: {photos}: left out 1 x .txt: not an image that Pillow reads",
        f"embed: {photos}: 4 images x {width} features, on cpu",
        f"embed: the images given: 2 images x {width} features, on cpu",
    ]


def test_it_reads_what_a_folder_reads_and_says_what_it_leaves(
    photos: Path, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    film = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "lime")]
    film[0].save(photos / "film.gif", save_all=True, append_images=film[1:])
    film[1].save(photos / "no_extension", format="JPEG2000")
    (photos / "._b.png").write_bytes(b"macOS")
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        found = ssl_zoo.embed(photos, pair)
        globbed = ssl_zoo.embed(f"{photos}/**", pair)
        one = ssl_zoo.embed(photos / "film.gif", pair)
        by_preprocess = pair[0](pair[1](photos / "film.gif"))
    assert len(found) == len(globbed) == 6
    red = by_hand(pair, [film[0].convert("RGB")])
    close(one, red, atol=1e-4)
    close(by_preprocess, red, atol=1e-4)
    line = "warning: 1 files hold several frames or pages: the first of each is read, the other 2"
    assert sum(message.startswith(line) for message in caplog.messages) == 4


def refused(line: str, images: Any, source: Any, **options: Any) -> None:
    with pytest.raises(UserError, match=line) as error:
        ssl_zoo.embed(images, source, **options)
    assert "\n" not in str(error.value)


def test_what_is_refused(photos: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    Path("empty").mkdir()
    refused("^images=missing does not exist: give a folder, a glob or a file$", "missing", pair)
    refused(r"^images=\*\.gif matches nothing: give a folder, or a pattern that", "*.gif", pair)
    refused(r"^images=\*\.txt matches 1 entries, none an image: give", "*.txt", pair)
    refused("^images=empty holds no image: give a folder with any of jpg", "empty", pair)
    refused("^notes.txt does not decode: cannot identify image file", "notes.txt", pair)
    refused("^notes.txt does not decode: ", [*SORTED, "notes.txt"], pair, batch_size=2)
    refused(r"^images\[1\]=a is a folder: give the path", ["b.png", "a"], pair)
    refused("^images is empty: ", [], pair)
    refused("^images: values are float64, must be uint8", np.zeros((5, 5, 3)), pair)
    refused(r"^images\[0\]: shape \(5, 5, 2\) is not one", [np.zeros((5, 5, 2), np.uint8)], pair)
    refused("^batch_size=0: must be a whole number of at least 1", ".", pair, batch_size=0)
    refused(r"^device=gpu is not to be had \(Expected one of cpu", ".", pair, device="gpu")
    refused("^missing does not exist: give a run folder", ".", "missing")
    refused("^source is of type Watched: give what load_backbone takes", ".", Watched())
    refused(r"^source is of type tuple \(Watched, function\): give", ".", (Watched(), refused))
