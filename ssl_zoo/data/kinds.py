"""Which files are images, and why others are not."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.util import find_spec

from PIL import Image

from ssl_zoo.extras import how_to_install

# Drawings that another program renders, and what Pillow recognises but does not decode.
_NO_PIXELS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# What a file without extension may be: formats that begin with a signature.
_SIGNED = (
    *("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM", "AVIF", "HEIF", "QOI"),
    *("PSD", "DDS", "ICNS", "SGI", "SUN"),
)
_HEIC = {".heic", ".heif", ".hif"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
_EXTENSION = re.compile(r"\.[a-z][a-z0-9]*~?")  # not the end of scan.001 or photo.jpg_large
_SYSTEM = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "$recycle.bin"),
    *("system volume information", "lost+found", "__pycache__"),
}

SOME = "jpg jpeg png webp bmp tif tiff gif jp2 ppm"  # for messages: all would be sixty


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or an operating system's own: never image or class."""
    return name.startswith(".") or name.lower() in _SYSTEM


@cache
def formats() -> tuple[str, ...]:
    """The names of the formats that are read; registers HEIC if its package is installed."""
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in Image.ID if name not in _NO_PIXELS)


@cache
def _extensions() -> frozenset[str]:
    known = set(formats())
    read = {end for end, name in Image.registered_extensions().items() if name in known}
    return frozenset(read | {".mpo"})  # Pillow reads it as a JPEG


def why_no_image(path: str) -> str | None:
    """None if a file is taken for an image, else its extension and the reason.

    The extension decides, in any case; files without one are opened.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension in _extensions():
        return None
    if extension in _HEIC:
        return f"{extension}: needs {how_to_install('pillow_heif')}"
    if _EXTENSION.fullmatch(extension):
        return f"{extension}: not an image that Pillow reads"
    return None if _opens(path) else "no extension: not an image that Pillow reads"


def _opens(path: str) -> bool:
    try:
        with Image.open(path, formats=[name for name in _SIGNED if name in formats()]):
            return True
    except Exception:  # Pillow's plugins raise nearly anything
        return False


def hint(path: str | os.PathLike[str]) -> str:
    """What else to say of a file that does not open; "" = nothing."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return ""
    if start[4:8] == b"ftyp" and start[8:] in _HEIC_BRANDS and "HEIF" not in formats():
        return f"; it is HEIC: {how_to_install('pillow_heif')}"
    return ""
