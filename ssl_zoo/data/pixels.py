"""Whatever a person calls an image, as a uint8 tensor (3, H, W)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ssl_zoo.console import warn
from ssl_zoo.data.decode import decode, rgb
from ssl_zoo.types import BadValue, UserError

Reader: TypeAlias = Callable[[], Tensor]

_PIL = threading.Lock()  # a PIL image that is not loaded yet must not be read by two threads
_SHAPES = "C = 1 (grey), 3 (RGB) or 4 (RGBA)"


def readers(
    images: Any,
    name: str = "images",
    white: int | None = None,
    tell: Callable[[int], None] | None = None,
) -> list[Reader]:
    """What reads each of some images, in their order, when it is called.

    What can be told without reading a pixel is refused here: types, shapes, missing files.

    Args:
        images: A path; a PIL image; a uint8 array or tensor (H, W), (H, W, C), (C, H, W),
            (N, H, W, C) or (N, C, H, W) with C = 1 (grey), 3 (RGB) or 4 (RGBA); or a list of these.
            Transparency is composited over white, and PIL images are turned upright, as `decode`
            does it with files.
        name: What messages call the images.
        white: The value that is white in files and PIL images of 16 bits; None = 65535.
        tell: Called with the number of frames or pages after the first, for files that have some.

    Returns:
        Functions that return uint8 (3, H, W): of files, PIL images and arrays on the CPU, of
        tensors on their own device.

    Raises:
        UserError: Also from a reader, if its image does not decode; the line says which and why.
    """
    if isinstance(images, str | Path):
        return [partial(_read_file, _existing(images, name), white, tell)]
    if isinstance(images, Image.Image):
        return [partial(_read_pil, images, name, white)]
    if isinstance(images, Tensor):
        return _rows(images, name)
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OU":  # these hold paths
        return _rows(images, name)
    listed = _listed(images, name)
    each = (readers(image, f"{name}[{i}]", white, tell) for i, image in enumerate(listed))
    return [read for some in each for read in some]


def say_frames(frames: Sequence[int]) -> None:
    """Warn of files of which only the first frame or page was read.

    Args:
        frames: For each such file, how many follow.
    """
    if frames:
        warn(
            f"{len(frames):,} files hold several frames or pages: the first of each is read, the "
            f"other {sum(frames):,} are left out"
        )


def _listed(images: Any, name: str) -> list[Any]:
    if not isinstance(images, Iterable) or isinstance(images, dict | set | bytes):
        raise UserError(
            f"{name} is of type {type(images).__name__}: give a path, a PIL image, a uint8 array "
            "or tensor, or a list of these"
        )
    listed = list(images)
    if not listed:
        raise _empty(name)
    return listed


def _empty(name: str) -> UserError:
    return UserError(f"{name} is empty: give at least one image")


# ---- files and PIL images ----


def _existing(path: str | Path, name: str) -> str:
    file = os.path.expanduser(path)
    if not os.path.isfile(file):
        state = "is a folder" if os.path.isdir(file) else "does not exist"
        raise BadValue(name, path, says=f"{state}: give the path of an image file")
    return file


def _read_file(path: str, white: int | None, tell: Callable[[int], None] | None) -> Tensor:
    try:
        return to_chw(decode(path, white, tell))
    except UserError as error:
        raise UserError(f"{error}; repair it or leave it out") from error


def _read_pil(image: Image.Image, name: str, white: int | None = None) -> Tensor:
    try:
        with _PIL:
            return to_chw(rgb(image, white))
    except Exception as error:  # Pillow's plugins raise nearly anything on corrupt files
        raise UserError(f"{name} does not decode: {error}; repair it or leave it out") from error


def to_chw(pixels: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) as `decode` gives it -> (3, H, W)."""
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


# ---- arrays and tensors ----


def _rows(images: NDArray[Any] | Tensor, name: str) -> list[Reader]:
    """A reader for each image of an array or tensor, which copies no pixel before it is called."""
    shape = tuple(images.shape)
    if _kind(images) != "uint8":
        raise UserError(not_uint8(images, name))
    if len(shape) == 4 and len(images) == 0:
        raise _empty(name)
    if len(shape) not in (2, 3, 4) or 0 in shape:
        raise _bad_shape(shape, name)
    if len(shape) == 2:
        return [partial(_read_row, images[None], name)]
    batch = images[None] if len(shape) == 3 else images
    if not (is_nchw(images) or _channels_first(shape, name)):
        move: Callable[..., Any] = torch.movedim if isinstance(batch, Tensor) else np.moveaxis
        batch = move(batch, 3, 1)
    return [partial(_read_row, row, name) for row in batch]


def is_nchw(images: Any) -> bool:
    """Whether it is a tensor (..., N, 3, H, W), which is never taken for anything else."""
    return isinstance(images, Tensor) and images.ndim >= 4 and images.shape[-3] == 3


def _kind(images: NDArray[Any] | Tensor) -> str:
    return str(images.dtype).removeprefix("torch.")


def not_uint8(images: NDArray[Any] | Tensor, name: str = "images") -> str:
    """The message for images of another type: what they are, and how they become uint8."""
    kind = _kind(images)
    tensor = isinstance(images, Tensor)
    cast = ".to(torch.uint8)" if tensor else '.astype("uint8")'
    if "float" in kind:
        how = f"values in [0, 1] become so by (x * 255).round(){cast}"
    elif kind == "uint16":
        how = f"16 bits become so by ({'x.float()' if tensor else 'x'} / 257).round(){cast}"
    elif kind == "bool":
        how = f"true and false become so by (x * 255){cast}"
    else:
        how = f"where its values are these, x{cast} makes it so"
    return f"{name}: values are {kind}, must be uint8 from 0 to 255; {how}"


def _channels_first(shape: Sequence[int], name: str) -> bool:
    """Whether the channels of (..., C, H, W) or (..., H, W, C) come first.

    Raises:
        UserError: If neither axis or both may be the channels.
    """
    for counts in ((3,), (1, 4)):  # three channels are by far the likeliest
        first, last = shape[-3] in counts, shape[-1] in counts
        if first and last:
            raise UserError(
                f"{name}: shape {tuple(shape)} may be channels first or last; give a PIL image, "
                "Image.fromarray(x) of channels last, or a tensor (N, 3, H, W)"
            )
        if first or last:
            return first
    raise _bad_shape(shape, name)


def _bad_shape(shape: Sequence[int], name: str) -> UserError:
    return UserError(
        f"{name}: shape {tuple(shape)} is not one of (H, W), (H, W, C), (C, H, W), (N, H, W, C) "
        f"and (N, C, H, W) with {_SHAPES}"
    )


def _read_row(row: NDArray[np.uint8] | Tensor, name: str) -> Tensor:
    """(C, H, W), C = 1, 3 or 4."""
    # Copied: a view of numpy's may run backwards or be read-only, which torch does not know.
    image = row if isinstance(row, Tensor) else torch.from_numpy(np.array(row, order="C"))
    if len(image) == 4:
        pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
        return _read_pil(Image.fromarray(pixels), name).to(image.device)
    return image.expand(3, -1, -1).contiguous()
