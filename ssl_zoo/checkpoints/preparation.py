"""How images are prepared for a backbone: its own way, and what is given in the place of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.types import BadValue, UserError, first_line

# The knobs of a data set that replace a backbone's own preprocessing.
PREPARATION = ("image_size", "crop_fraction", "mean", "std")


class Preparation(NamedTuple):
    """The one way in which images come to a backbone.

    Attributes:
        preprocess: What is used, whoever asks: protocols, files of features, exports.
        changed: The options of it that are given and differ from the backbone's own, by name.
    """

    preprocess: Preprocess
    changed: dict[str, Any]

    @property
    def origin(self) -> str:
        """Whose it is, in words."""
        knobs = ", ".join(f"dataset.{name}" for name in self.changed)
        return f"the backbone's own but for {knobs}" if knobs else "the backbone's own"


def prepare(backbone: nn.Module, own: Preprocess, given: Mapping[str, Any]) -> Preparation:
    """A backbone's own preprocessing, with what is given in its place.

    Args:
        backbone: On the CPU; tried on two black images if they are of another size.
        own: As `load_backbone` returns it.
        given: Arguments of `Preprocess`, which on the command line are knobs of `dataset`.

    Raises:
        UserError: If a value makes no sense, or the backbone does not take images of that size;
            the line names the knob.
    """
    before = own.options()
    try:
        preprocess = Preprocess(**before | dict(given))
    except BadValue as error:
        raise UserError(error.named(f"dataset.{error.argument}")) from error
    after = preprocess.options()
    changed = {name: after.get(name) for name in given if after.get(name) != before.get(name)}
    if "image_size" in changed:
        _try(backbone, preprocess.image_size, own.image_size)
    return Preparation(preprocess, changed)


def _try(backbone: nn.Module, side: int, own: int) -> None:
    try:
        with torch.inference_mode():
            backbone(torch.zeros(2, 3, side, side))
    except Exception as error:  # onnxruntime, TorchScript and each library have their own
        raise UserError(
            f"dataset.image_size={side}: the backbone takes images of {own} x {own} pixels "
            f"({first_line(error)})"
        ) from error
