"""A protocol's input: one backbone, the data it is scored on, and features encoded once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ssl_zoo.console import bar
from ssl_zoo.data import DataModule
from ssl_zoo.data.loaders import CleanLoader
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.evaluation.features import Features, encode
from ssl_zoo.hardware import autocast


class SplitFeatures(NamedTuple):
    """Features of a data set's splits, labelled rows only.

    Attributes:
        train: For fitting heads.
        val: Held out of train, for choosing among them.
        test: Read once; empty if the data set has none.
    """

    train: Features
    val: Features
    test: Features


@dataclass
class Encoded:
    """The encoded features of a candidate; its copies share them.

    Attributes:
        features: None until a protocol asks.
        num_images: Images encoded so far.
    """

    features: SplitFeatures | None = None
    num_images: int = 0


@dataclass(frozen=True)
class Candidate:
    """One backbone and the data that it is scored on.

    `dataclasses.replace(candidate, folder=...)` is the same candidate with its files elsewhere: no
    image is encoded again.

    Attributes:
        name: Row of the table: pretrained, random init, raw pixels.
        backbone: (N, 3, S, S) -> (N, D), on `device`; `backbone.num_features` if it has a width.
        preprocess: uint8 images -> what the backbone expects; all that come to it go through this.
        make_data: Builds the data module, when it is first needed.
        seed: For heads, draws and orders.
        device: Where the backbone is.
        batch_size: Images per batch in encoding.
        precision: 32-true or bf16-mixed, of the backbone while it is frozen.
        training_precision: Likewise, where a protocol trains it.
        changed: The options of `preprocess` that the user set, by name; others are the backbone's
            own.
        seen_classes: Names of the classes whose images pretraining saw; None = unknown.
        folder: Where files other than the scores go.
        suffix: End of their names, which distinguishes checkpoints and data sets.
        figure_stem: Path that the names of pictures are appended to; None = there are none.
        is_first: Whether this row has all the pictures; the others have those that every row has.
        encoded: The features encoded so far.
    """

    name: str
    backbone: nn.Module
    preprocess: Preprocess
    make_data: Callable[[], DataModule]
    seed: int
    device: torch.device
    batch_size: int = 256
    precision: str = "32-true"
    training_precision: str = "auto"
    changed: Mapping[str, Any] = field(default_factory=dict)
    seen_classes: frozenset[str] | None = frozenset()
    folder: Path = Path()
    suffix: str = ""
    figure_stem: Path | None = None
    is_first: bool = True
    encoded: Encoded = field(default_factory=Encoded, repr=False)

    @cached_property
    def data(self) -> DataModule:
        """The data module, which prepares clean images as this backbone expects them."""
        return self.make_data().prepared(self.preprocess)

    @property
    def autocast(self) -> Callable[[], AbstractContextManager[Any]]:
        """The context of a forward pass of the frozen backbone."""
        return autocast(self.device, self.precision)

    @property
    def training_autocast(self) -> Callable[[], AbstractContextManager[Any]]:
        """The context of a forward pass where the backbone is trained."""
        return autocast(self.device, self.training_precision)

    @property
    def num_encoded(self) -> int:
        """Images encoded so far."""
        return self.encoded.num_images

    @property
    def features(self) -> SplitFeatures:
        """Clean features of train, val and test, encoded once, whichever protocol asks first."""
        if self.encoded.features is None:
            self.encoded.features = self._encode_splits()
        return self.encoded.features

    def _encode_splits(self) -> SplitFeatures:
        encoded = self.encode(self.loaders(), f"{self.name}: encode")
        splits = [split.labelled() for split in encoded]
        some = next((split for split in splits if len(split.label)), splits[0])
        none = Features(some.representation[:0], some.label[:0])  # of the right width
        filled = [split if len(split.label) else none for split in splits]
        return SplitFeatures(*filled, *[none] * (3 - len(filled)))

    def loaders(self) -> list[CleanLoader]:
        """Clean images of train (labelled ones), val and, if the data set has it, test."""
        data = self.data
        loaders = [data.bank_dataloader(), data.val_dataloader()]
        return loaders if data.test is None else [*loaders, data.test_dataloader()]

    def encode(self, loaders: list[CleanLoader], label: str) -> list[Features]:
        """Clean features of loaders, in eval mode, with one progress bar."""
        total = sum(len(loader) for loader in loaders)
        done = 0
        with bar(label) as progress:

            def advance() -> None:
                nonlocal done
                done += 1
                progress(done, total)

            features = [
                encode(
                    self.backbone,
                    loader,
                    self.preprocess.normalize,
                    self.device,
                    self.autocast,
                    advance,
                )
                for loader in loaders
            ]
        self.encoded.num_images += sum(len(split.label) for split in features)
        return features

    def bar(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """A progress bar of this row: `with candidate.bar("fit") as progress: progress(1, 10)`."""
        return bar(f"{self.name}: {what}")

    def figure(self, what: str) -> Path | None:
        """Where a picture of the first row goes; None if this row has none."""
        return self.figure_of_row(what) if self.is_first else None

    def figure_of_row(self, what: str) -> Path | None:
        """Where a picture goes that every row has; None if there are none."""
        if self.figure_stem is None:
            return None
        whose = "" if self.is_first else "_" + re.sub(r"[^\w.-]+", "_", self.name).strip("_")
        return self.figure_stem.with_name(f"{self.figure_stem.name}_{what}{whose}.png")
