"""10 and 12 bits in files of 16: their white by a knob, and a warning without it."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.configs import Make
from helpers.files import open_folder, rgb
from helpers.pixels import noise, save
from helpers.trees import folder_of
from ssl_zoo.data import Preprocess
from ssl_zoo.data.decode import decode
from ssl_zoo.types import UserError


def write_deep(root: Path, highest: int, mixed: bool = False, suffix: str = "png") -> np.ndarray:
    """Files of 16 bits, of which the first reaches `highest`."""
    pixels = noise(8, 9, high=highest + 1, dtype=np.uint16)
    pixels[0, :2] = 0, highest
    for i, name in enumerate(("a/1", "a/2", "b/3")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rows = slice(None, 8 - i if mixed else None)
        Image.fromarray(pixels[rows].astype(np.uint16)).save(root / f"{name}.{suffix}")
    return pixels


def opened(root: Path, caplog: pytest.LogCaptureFixture, **options: Any) -> tuple[Any, list[str]]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="ssl_zoo"):
        return open_folder(root, **options), list(caplog.messages)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("white", [1023, 4095, 50_000])
def test_the_white_level_stretches_the_greys(
    root: Path, caplog: pytest.LogCaptureFixture, white: int, mixed: bool, suffix: str
) -> None:
    pixels = write_deep(root, white, mixed, suffix)
    splits, messages = opened(root, caplog, white=white)
    expected = np.round(pixels / white * 255)
    np.testing.assert_allclose(rgb(splits.train, 0)[..., 0], expected, atol=1)
    assert len(np.unique(rgb(splits.train, 0))) > 40
    assert rgb(splits.train, 0).max() == 255
    assert messages == []


@pytest.mark.parametrize(("highest", "white"), [(1000, 1023), (4095, 4095), (16_383, 16_383)])
def test_without_it_one_warning_gives_the_value(
    root: Path, caplog: pytest.LogCaptureFixture, highest: int, white: int
) -> None:
    write_deep(root, highest)
    _, messages = opened(root, caplog)
    assert len(messages) == 1
    assert f"go up to {highest:,} of 65,535" in messages[0]
    assert messages[0].endswith(f"give white={white}")
    assert opened(root, caplog, white=white)[1] == []


def test_one_file_of_16_bits_among_many_is_found(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(40):
        (root / "a").mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 8), i).save(root / f"a/{i:02}.png")
    Image.fromarray(np.full((8, 9), 900, np.uint16)).save(root / "a/03b.png")
    for _ in ("read", "from the cache"):
        assert opened(root, caplog)[1][0].endswith("give white=1023")


def test_a_full_range_and_8_bits_are_not_warned_of(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = write_deep(root, 40_000)
    splits, messages = opened(root, caplog)
    assert messages == []
    np.testing.assert_array_equal(rgb(splits.train, 0)[..., 0], np.round(pixels / 257))
    for path in root.rglob("*.png"):
        Image.new("L", (9, 8), 3).save(path)
    assert opened(root, caplog)[1] == []


def test_values_above_white_are_clipped_and_said(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_deep(root, 4000)
    splits, messages = opened(root, caplog, white=1023)
    assert rgb(splits.train, 0).max() == 255
    assert len(messages) == 1
    assert messages[0].endswith("all above white=1023 become white; give white=4095")


def test_another_white_level_is_another_cache(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_deep(root, 1023)
    first = rgb(opened(root, caplog)[0].train, 0)
    second = rgb(opened(root, caplog, white=1023)[0].train, 0)
    assert first.max() < 10 < second.max()


def test_three_channels_of_16_bits(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Pillow keeps their upper bytes only, so that no white level can help: this is said."""
    for name, seed in (("a/1", 0), ("b/2", 1)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_png48(root / f"{name}.png", noise(8, 9, 3, high=4096, dtype=np.uint16) + seed)
    _, messages = opened(root, caplog)
    assert len(messages) == 1
    assert messages[0].endswith("save them with 8 bits per channel, scaled to 255")
    with pytest.raises(UserError, match=r"1\.png does not decode: 16 bits .* save it with 8 bits"):
        open_folder(root, white=4095)


def write_png48(path: Path, pixels: np.ndarray) -> None:
    """A PNG of 16 bits for each of three channels, which Pillow does not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_a_16_bit_pgm_knows_its_own_white(tmp_path: Path) -> None:
    pixels = noise(8, 9, high=4096, dtype=np.uint16)
    header = b"P5\n9 8\n4095\n"
    (tmp_path / "a.pgm").write_bytes(header + pixels.astype(">u2").tobytes())
    expected = np.round(pixels / 4095 * 255)
    np.testing.assert_allclose(decode(tmp_path / "a.pgm")[..., 0], expected, atol=1)
    np.testing.assert_allclose(decode(tmp_path / "a.pgm", white=1023)[..., 0], expected, atol=1)


@pytest.mark.parametrize("white", [0, -1, 65_536])
def test_a_white_that_cannot_be_is_refused(root: Path, white: int) -> None:
    write_deep(root, 1023)
    with pytest.raises(UserError, match=rf"^white={white}: must be in 1 to 65535, such as 4095"):
        open_folder(root, white=white)


def test_preprocess_reads_files_and_pictures_as_the_data_set_does(tmp_path: Path) -> None:
    pixels = noise(16, 16, high=1024, dtype=np.uint16)
    path = save(tmp_path / "a.png", "I;16", pixels)
    preprocess = Preprocess(16, mean=[0, 0, 0], std=[1, 1, 1], white=1023)
    expected = torch.from_numpy(decode(path, white=1023)).permute(2, 0, 1)[None] / 255
    assert torch.equal(preprocess(path), expected)
    assert torch.equal(preprocess([Image.open(path)]), expected)
    assert Preprocess(**preprocess.options()).white == 1023
    assert "16-bit white is 1023" in str(preprocess)
    assert "white" not in Preprocess(16).options()  # as it was saved before


def test_the_knobs_reach_the_data_and_what_is_saved(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "val"):
        write_deep(tmp_path / "data" / split, 1023)
    knobs = ["dataset.white=1023", "dataset.test_folder=val", "batch_size=2"]
    data = folder_of(make_config, tmp_path, tmp_path / "data", *knobs)
    assert (len(data.train), len(data.val), len(data.test or [])) == (2, 1, 3)
    assert data.options()["white"] == 1023
    assert [line for line in caplog.messages if not line.startswith("val lacks 1 class")] == []
