"""Features of any images by any backbone, in one call."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_zoo.checkpoints.load import load_backbone
from ssl_zoo.config import trusting
from ssl_zoo.console import bar, info
from ssl_zoo.data.kinds import SOME, is_hidden, why_no_image
from ssl_zoo.data.listing import counted, find_images, shown
from ssl_zoo.data.pixels import Reader, say_frames
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.evaluation.features import eval_mode, representer
from ssl_zoo.hardware import default_device
from ssl_zoo.types import BadValue, UserError, check_whole, first_line

_AHEAD = 2  # batches that are read while one is embedded


def embed(
    images: Any,
    source: str | Path | tuple[nn.Module, Preprocess],
    *,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    trust: Sequence[str] = (),
    **hints: Any,
) -> Tensor:
    """Features of images by a pretrained backbone, in eval mode and without gradients.

    Args:
        images: A folder (all images below it, in `sorted` order folder by folder), a glob (its
            images, sorted), or what `ssl_zoo.data.pixels.readers` takes: a path, a PIL image, a
            uint8 array or tensor of one image or of several, channels first or last, or a list of
            these. Sizes may differ.
        source: What `load_backbone` takes, or the pair that it returned.
        batch_size: Images that are encoded at once.
        device: Where; None = the GPU if there is one, else the CPU. A backbone that was given is
            moved there, and back at the end.
        trust: As in `load_backbone`, for backbones of your own.
        **hints: As in `load_backbone`: `ckpt_prefix`, `ckpt_heads`, `ckpt_layout`.

    Returns:
        (N, num_features) float32 on the CPU, a row for each image, in the order given.

    Raises:
        UserError: If an image, the source, or an argument is bad; the line says which and why.
    """
    check_whole("batch_size", batch_size)
    listed = _files(images) if isinstance(images, str | Path) else images
    where = _device(device)
    with trusting(trust):
        backbone, preprocess = _opened(source, hints)
    frames: list[int] = []
    reads = preprocess.readers(listed, tell=frames.append)
    features = _encoded(reads, backbone, preprocess, batch_size, where)
    say_frames(frames)
    what = images if isinstance(images, str | Path) else "the images given"
    info(f"embed: {what}: {len(features)} images x {features.shape[1]} features, on {where}")
    return features


def _encoded(
    reads: Sequence[Reader],
    backbone: nn.Module,
    preprocess: Preprocess,
    batch_size: int,
    device: torch.device,
) -> Tensor:
    features: list[Tensor] = []
    with bar("embed") as progress, _moved(backbone, device), eval_mode(backbone):
        represent = representer(backbone, preprocess.normalize, device)
        done = 0
        for batch in _batches(reads, preprocess.geometry, batch_size):
            with torch.inference_mode():
                features.append(represent(batch).cpu())
            done += len(batch)
            progress(done, len(reads))
    return torch.cat(features)  # outside of inference mode, so that a probe may be trained on them


def _batches(
    reads: Sequence[Reader], geometry: Callable[[Tensor], Tensor], batch_size: int
) -> Iterator[Tensor]:
    """Stacked images, read and resized by threads, some batches ahead."""

    def prepare(read: Reader) -> Tensor:
        return geometry(read())

    pool = ThreadPoolExecutor()
    pending: deque[list[Future[Tensor]]] = deque()
    try:
        for start in range(0, len(reads), batch_size):
            pending.append([pool.submit(prepare, r) for r in reads[start : start + batch_size]])
            if len(pending) > _AHEAD:
                yield torch.stack([future.result() for future in pending.popleft()])
        while pending:
            yield torch.stack([future.result() for future in pending.popleft()])
    finally:  # also after an error, such as a file that does not decode
        pool.shutdown(cancel_futures=True)


# ---- what the arguments mean ----


def _files(images: str | Path) -> list[str]:
    """The image files that a folder, a glob or a path means; says what else it holds."""
    place = os.path.expanduser(images)
    if os.path.isdir(place):
        try:
            found = find_images(Path(place))
        except BadValue as error:
            raise BadValue("images", images, says=error.says) from error
        _say_left_out(images, found.left_out())
        return [os.path.join(place, name) for name in found.names]
    if os.path.exists(place):
        return [place]
    if not glob.has_magic(place):
        raise BadValue("images", images, says="does not exist: give a folder, a glob or a file")
    matches = sorted(glob.glob(place, recursive=True))
    reasons = {path: why_no_image(path) for path in matches if _is_visible_file(path)}
    files = [path for path, reason in reasons.items() if reason is None]
    if not files:
        what = f"matches {len(matches)} entries, none an image" if matches else "matches nothing"
        fix = f"give a folder, or a pattern that ends in any of {SOME} or what else Pillow reads"
        raise BadValue("images", images, says=f"{what}: {fix}")
    _say_left_out(images, counted(reason for reason in reasons.values() if reason is not None))
    return files


def _is_visible_file(path: str) -> bool:
    return os.path.isfile(path) and not is_hidden(os.path.basename(path))


def _say_left_out(images: str | Path, left_out: Mapping[str, int]) -> None:
    if left_out:
        info(f"embed: {images}: left out {shown(left_out)}")


def _opened(source: Any, hints: Mapping[str, Any]) -> tuple[nn.Module, Preprocess]:
    """The backbone and what prepares images for it."""
    if isinstance(source, str | Path):
        return load_backbone(source, **hints)
    if hints:
        raise UserError(f"{', '.join(hints)}: a backbone that is loaded already takes no hints")
    pair = source if isinstance(source, tuple | list) else ()
    if len(pair) == 2 and isinstance(pair[0], nn.Module) and isinstance(pair[1], Preprocess):
        return pair[0], pair[1]
    parts = ", ".join(type(part).__name__ for part in pair)
    raise UserError(
        f"source is of type {type(source).__name__}{f' ({parts})' if pair else ''}: give what "
        "load_backbone takes, such as a run folder, or the pair (backbone, preprocess) it returns"
    )


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return default_device()
    try:
        where = torch.device(device)
        torch.empty(0, device=where)  # there may be none of its kind
    except (RuntimeError, AssertionError, TypeError) as error:
        raise BadValue("device", device, says=f"is not to be had ({first_line(error)})") from error
    return where


@contextmanager
def _moved(backbone: nn.Module, device: torch.device) -> Iterator[None]:
    """The backbone on a device inside, and where it was after."""
    tensors = chain(backbone.parameters(), backbone.buffers())
    home = next((tensor.device for tensor in tensors), device)
    backbone.to(device)
    try:
        yield
    finally:
        backbone.to(home)
