"""Loading backbones: from our runs, from other libraries and repositories, from exported files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ssl_zoo.checkpoints import unpickle
from ssl_zoo.checkpoints.exported import (
    description_beside,
    load_onnx,
    load_safetensors,
    load_state_dict,
    load_torchscript,
)
from ssl_zoo.checkpoints.hints import Hints
from ssl_zoo.checkpoints.library import load_library
from ssl_zoo.checkpoints.loaded import Loaded, Output
from ssl_zoo.checkpoints.official import load_official
from ssl_zoo.checkpoints.ours import is_ours, load_run, scored_output
from ssl_zoo.checkpoints.source import find_checkpoint, identify
from ssl_zoo.config import trusting
from ssl_zoo.console import info
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.types import UserError


def load_backbone(
    source: str | Path,
    trust: Sequence[str] = (),
    *,
    ckpt_prefix: str | None = None,
    ckpt_heads: int | None = None,
    ckpt_layout: str | None = None,
) -> tuple[nn.Module, Preprocess]:
    """The pretrained backbone and what prepares images for it.

    Args:
        source: A run folder (its last checkpoint), a checkpoint file of ours or of another
            repository (docs/checkpoints.md), an exported file, `torchvision:NAME[:WEIGHTS]` or
            `timm:NAME`.
        trust: Packages whose names the file's config may call, for backbones of your own; those of
            the variable SSL_ZOO_TRUST besides.
        ckpt_prefix: Of a file of another repository: what the names of the backbone's weights begin
            with, where several networks lie in it.
        ckpt_heads: Attention heads of its ViT, which shapes do not tell; None = as published.
        ckpt_layout: The program that wrote it, such as "solo_learn", or "plain"; None = by what
            only that program writes.

    Returns:
        backbone: (N, 3, S, S) -> (N, num_features), in eval mode; `backbone.num_features`.
        preprocess: uint8 (N, 3, H, W) -> what the backbone expects.

    Raises:
        UserError: If there is no checkpoint, or it is not a known one.
    """
    hints = Hints(ckpt_prefix, ckpt_heads, ckpt_layout).checked()
    with trusting(trust):
        loaded = load_pretrained(source, hints=hints)
    return loaded.backbone, loaded.preprocess


def load_pretrained(
    source: str | Path, output: Output = "representation", hints: Hints | None = None
) -> Loaded:
    """The same with its architecture and a report, which is also printed.

    Args:
        source: As in `load_backbone`.
        output: What the module returns: h of the backbone, or z of the projector (N, embed_dim),
            which only our own runs have; "auto" = what the run's method is made for, else h.
        hints: What a file of another repository does not tell; None = conclude it.

    Raises:
        UserError: As in `load_backbone`; or if the source has no such output.
    """
    loaded = read(source, output, hints)
    info(loaded.report)
    return loaded


def read(
    source: str | Path, output: Output = "representation", hints: Hints | None = None
) -> Loaded:
    """The same, and nothing is printed: the reader of the source's kind, called once."""
    kind, hints = identify(source), hints or Hints()
    if kind == "checkpoint":
        return _read_checkpoint(source, output, hints)
    _check_output(output, source)
    if kind == "safetensors":
        return load_safetensors(find_checkpoint(source), hints)
    if kind == "library":
        hints.refuse(source, "a library's network")
        return load_library(str(source))
    hints.refuse(source, "a program")
    return {"onnx": load_onnx, "torchscript": load_torchscript}[kind](find_checkpoint(source))


def _read_checkpoint(source: str | Path, output: Output, hints: Hints) -> Loaded:
    """A PyTorch file or a pickle: a run's, an export's, or another repository's."""
    path = find_checkpoint(source)
    description, content = description_beside(path), unpickle.read(path)
    if description is None and is_ours(content):
        hints.refuse(source, "a checkpoint of ssl_zoo")
        return load_run(content, path, output)
    _check_output(output, source)
    if description is not None:
        hints.refuse(source, "an export of ssl_zoo")
        return load_state_dict(content, description, path)
    return load_official(content, path, hints)


def _check_output(output: Output, source: str | Path) -> None:
    if output == "embedding":
        raise UserError(f"{source} has no {output}: only runs of ssl_zoo keep their projector")


class Source(NamedTuple):
    """What `ckpt=` of evaluate.py names.

    Attributes:
        ckpt: As it was given.
        pretrained: Backbone and preprocessing; None = random.
        extras: What one of our runs saved beside the weights; None for others.
        output: What is scored: representation or embedding.
    """

    ckpt: str
    pretrained: Loaded | None
    extras: dict[str, Any] | None
    output: str

    @property
    def seen_classes(self) -> frozenset[str] | None:
        """Names of the classes whose images pretraining saw; None = unknown."""
        if self.pretrained is None:
            return frozenset()
        names = (self.extras or {}).get("train_classes")
        return None if names is None else frozenset(names)


def open_source(ckpt: str, features: str, hints: Hints | None = None) -> Source:
    """Load what `ckpt` names.

    Args:
        ckpt: A source of `load_pretrained`, or random.
        features: representation, embedding, or auto = what the method is made for.
        hints: What a file of another repository does not tell.

    Raises:
        UserError: If it is not readable, or has no such output.
    """
    if features not in ("auto", "representation", "embedding"):
        raise UserError(f"features={features}: give auto, representation or embedding")
    output: Output = features  # type: ignore[assignment]  # checked above
    if ckpt == "random":
        (hints or Hints()).refuse("random", "no file")
        return Source(ckpt, None, None, "representation")
    loaded = load_pretrained(ckpt, output, hints)
    return Source(ckpt, loaded, loaded.run, scored_output(loaded.run, output))
