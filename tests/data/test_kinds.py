"""Which files are images: by extension in any case, else by content; the rest is counted."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.files import open_folder, rgb, write_tree
from helpers.pixels import noise, save, smooth
from ssl_zoo.data.decode import decode, header
from ssl_zoo.data.listing import find_images
from ssl_zoo.types import UserError

SAVED = {
    **{end: "JPEG" for end in ("jpg", "JPG", "JPEG", "jfif", "jpe", "MPO")},
    **{"gif": "GIF", "ppm": "PPM", "pgm": "PPM", "jp2": "JPEG2000", "webp": "WEBP", "tif": "TIFF"},
    **{"bmp": "BMP", "png": "PNG", "apng": "PNG", "tga": "TGA", "qoi": "QOI", "ico": "ICO"},
    **{"": "JPEG", "jpg_large": "JPEG", "001": "PNG"},
}


def test_all_that_pillow_reads_is_read(root: Path) -> None:
    """Six hundred files would say no more: of each kind one in each of two classes."""
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i, (end, kind) in enumerate(SAVED.items()):
            stem = root / name / f"picture{i}"
            mode = "L" if end == "pgm" else "RGB"
            picture = Image.fromarray(smooth()[:48, :48]).convert(mode)
            picture.save(f"{stem}.{end}" if end else stem, format=kind)
    splits = open_folder(root)
    assert len(splits.train) == 2 * len(SAVED)
    assert splits.train.left_out == {}
    assert splits.train.size == (48, 48)
    for i in range(len(SAVED)):
        close = np.abs(rgb(splits.train, i).astype(int) - smooth()[:48, :48]) < 60
        assert close.mean() > 0.9 or "pgm" in str(splits.train.places()[i])


def test_the_rest_is_counted_by_extension_and_reason(root: Path) -> None:
    write_tree(root, "a/1.png", "a/2.png", "b/3.png")
    others = [
        "a/1.txt",
        "a/2.TXT",
        "b/labels.csv",
        "a/raw.CR2",
        "drawing.eps",
        "LICENSE",
        "b/1.jpg~",
    ]
    for name in [*others, ".hidden", "Thumbs.db"]:
        (root / name).write_text("%!PS-Adobe")
    no = "not an image that Pillow reads"
    assert open_folder(root).train.left_out == {
        f".txt: {no}": 2,
        **{f"{end}: {no}": 1 for end in (".csv", ".cr2", ".eps", "no extension", ".jpg~")},
    }


def test_the_extension_is_not_believed_where_the_content_is_an_image(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg"), smooth())


def test_a_program_is_no_image(tmp_path: Path) -> None:
    """EPS would be run by Ghostscript."""
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(UserError, match=r"a\.jpg does not open: cannot identify image file"):
        header(tmp_path / "a.jpg")


def test_heic_is_counted_or_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(root, "a/1.png", "b/2.png")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (root / "a" / "photo.HEIC").write_bytes(heic)
    if "pillow_heif" not in sys.modules and not _has_heif():
        how = 'pip install "ssl_zoo[heic]"'
        assert open_folder(root).train.left_out == {f".heic: needs {how}": 1}
        (root / "b" / "renamed.jpg").write_bytes(heic)
        with pytest.raises(
            UserError, match=r"renamed\.jpg does not open.* it is HEIC: pip install"
        ):
            open_folder(root)
        return
    Image.fromarray(smooth()).save(root / "a" / "photo.HEIC", format="HEIF", quality=100)
    assert find_images(root).names == ["a/1.png", "a/photo.HEIC", "b/2.png"]
    np.testing.assert_allclose(decode(root / "a/photo.HEIC").astype(int), smooth(), atol=40)
    assert header(root / "a" / "photo.HEIC").size == (48, 80)


def _has_heif() -> bool:
    from ssl_zoo.data.kinds import formats

    return "HEIF" in formats()


# ---- channels and frames ----


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_near_infrared_as_alpha_is_refused(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", "RGBA", noise(16, 16, 4), **options)
    with pytest.raises(
        UserError, match=rf"a\.{suffix} .*channel 4 is no transparency mask.*as RGB"
    ):
        decode(path)


def test_a_second_channel_beside_grey_is_refused(tmp_path: Path) -> None:
    both = [Image.fromarray(noise(16, 16)) for _ in range(2)]
    Image.merge("LA", both).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"channel 2 is no transparency mask .* as L \(if"):
        decode(tmp_path / "a.png")


def test_a_fourth_channel_that_pillow_drops_is_refused(tmp_path: Path) -> None:
    """A TIFF says of what is no alpha that it is unspecified; Pillow then reads three."""
    path = save(tmp_path / "a.tif", "RGBA", noise(16, 16, 4))
    content = bytearray(path.read_bytes())
    at = content.index(bytes([0x52, 0x01, 0x03, 0x00]))  # the tag ExtraSamples
    content[at + 8] = 0
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.tif .*4 channels, of which Pillow reads 3; save it"):
        decode(path)


@pytest.mark.parametrize("soft", ["disc", "few levels", "uniform"])
def test_masks_are_still_blended_over_white(tmp_path: Path, soft: str) -> None:
    y, x = np.mgrid[0:64, 0:64] - 32
    alpha = {
        "disc": np.clip(255 - 30 * (np.hypot(y, x) - 20), 0, 255),  # with a soft edge
        "few levels": noise(64, 64, high=5) * 60,
        "uniform": np.full((64, 64), 128),
    }[soft].astype(np.uint8)
    colour = noise(64, 64, 3)
    save(tmp_path / "a.png", "RGBA", np.dstack([colour, alpha]))
    share = alpha[..., None] / 255
    expected = colour * share + 255 * (1 - share)
    np.testing.assert_allclose(decode(tmp_path / "a.png"), expected, atol=1)


@pytest.mark.parametrize("suffix", ["tif", "webp", "png", "gif"])
def test_of_several_frames_the_first_is_read_and_the_rest_counted(
    root: Path, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    write_tree(root, "b/1.png")
    (root / "a").mkdir()
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("white", "black", "red")]
    options = {"lossless": True} if suffix == "webp" else {}
    path = root / f"a/film.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    for _ in range(2):  # reads, then from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="ssl_zoo"):
            splits = open_folder(root)
        assert splits.train.left_out == {"frames or pages after the first of their file": 2}
        (message,) = caplog.messages
        assert "1 files hold several frames or pages: the first of each is read" in message
    assert rgb(splits.train, 0).min() == 255


def test_a_single_frame_and_a_preview_are_not_counted(root: Path) -> None:
    write_tree(root, "a/1.gif", "b/1.webp", "b/2.tif")
    picture = Image.new("RGB", (5, 4), "red")
    preview = Image.new("RGB", (2, 2), "blue")
    picture.save(root / "a/phone.jpg", format="MPO", save_all=True, append_images=[preview])
    assert open_folder(root).train.left_out == {}
