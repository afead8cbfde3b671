"""The base of all protocols, and what several of them share."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from ssl_zoo.data import DataModule
from ssl_zoo.data.images import Images
from ssl_zoo.data.shared_classes import class_ids, classes_in_words
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.types import BadValue, UserError

RANDOM_INIT, RAW_PIXELS = FLOORS = ("random init", "raw pixels")


class Protocol(ABC):
    """One way to score a backbone.

    A protocol of your own is a subclass in one file, and one YAML, NAME.yaml in conf/protocol or in
    DIR/protocol with `--config-dir DIR`: its first line is `# @package protocol.NAME`, `_target_`
    names the class, and the other keys are the constructor's arguments. A bad argument is refused
    by `BadValue`; the command line then names the knob.

    Attributes:
        headline: The key of `score`'s row that tables show; scores on test begin with `test_`,
            scores on val with `val_`.
        columns: The keys that a table of this protocol shows, the headline first.
        floors: Those of the reference rows `FLOORS` that make sense for this protocol.
        own_data: Whether it reads its own images instead of the data set's; `check` and `identity`
            then get None.
        trains_backbone: Whether the backbone is trained too, in `candidate.training_precision`;
            ONNX and TorchScript files do not allow it.
        shares: Whether the fractions in its row are shares, which tables show in %.
    """

    floors: tuple[str, ...] = FLOORS
    own_data: bool = False
    trains_backbone: bool = False
    shares: bool = True

    @property
    @abstractmethod
    def headline(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.headline,)

    def shown(self, value: float) -> str:
        """A fraction of a row, or its s, as tables show it."""
        return f"{100 * value if self.shares else value:.1f}"

    def check(self, data: DataModule) -> None:
        """Refuse data that it cannot score, before any image is encoded; by default accepts all.

        `check_labels` and `check_shared_classes` can be used here.

        Args:
            data: The data set.

        Raises:
            UserError: Naming what is missing.
        """
        return

    def identity(self, data: DataModule) -> Any:
        """What is scored, independent of its folder, as plain JSON data; part of the row's id.

        Args:
            data: The data set.
        """
        splits = [data.train, data.val, *([] if data.test is None else [data.test])]
        return {
            "labels": [_hash(json.dumps(split.labels.tolist()).encode()) for split in splits],
            "images": [split.fingerprint() for split in splits],
            "class_names": data.class_names,
            "image_size": data.preprocess.image_size,
            "crop_fraction": data.preprocess.crop_fraction,
        }

    @abstractmethod
    def score(self, candidate: Candidate) -> dict[str, Any]:
        """One row: scores by name, as plain JSON data, including the headline.

        All choices are made on val; test is read once. The backbone does not change, and the
        global random generators are not used.

        Args:
            candidate: What is scored: backbone, data set, and features that are encoded once.
        """


# --- checks ---------------------------------------------------------------------------------------


def check_labels(data: DataModule) -> None:
    """Refuse a data set without labels."""
    if data.num_classes == 0:
        raise UserError("this data set has no labels, which this protocol needs")


def check_shared_classes(data: DataModule, settings: int | None = None) -> None:
    """Refuse data on which no head can be fitted on train, chosen on val and scored on test.

    Args:
        data: The data set.
        settings: How many are chosen among; 1 needs no val, None does.

    Val and test may have fewer classes than train, or more: those that train has are scored.
    """
    check_labels(data)
    if data.num_train_classes == 0:
        raise UserError(
            "no image of train has a label, so that nothing can be learned from it: use "
            "protocol=retrieval or protocol=embed"
        )
    if len(data.val) == 0 and settings != 1:
        if settings is None:
            raise UserError("no image is held out for validation: raise dataset.val_fraction")
        raise UserError(
            f"no image is held out to choose among {settings} settings: give one setting, or "
            "dataset.val_fraction=0.1"
        )
    data.test_dataloader()  # its error says what to do if there is none
    if data.class_split is not None:
        raise UserError(
            "this protocol learns train's classes, and dataset.class_split makes test classes that "
            "train lacks: use protocol=retrieval, or dataset.class_split=null"
        )
    if settings != 1:
        _check_shared(data, "val", data.val)
    _check_shared(data, "test", data.test)


def _check_shared(data: DataModule, part: str, images: Images | None) -> None:
    """Refuse a split without an image of a class of train."""
    if not images or torch.isin(data.train_labels, images.labels).any():
        return
    own = classes_in_words(class_ids(images), data.class_names)
    learned = classes_in_words(data.train_labels.tolist(), data.class_names)
    raise UserError(
        f"{part} has no image of a class that train has: train has {learned}, {part} {own}; use "
        "protocol=retrieval or protocol=embed, which need no class in common"
    )


def listed(values: Sequence[Any], argument: str) -> list[Any]:
    """A list of a config as a Python list.

    Raises:
        BadValue: If it is not a list, naming the argument.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise BadValue(argument, values, f"a list, such as [{values}]")
    return list(values)


# --- what is scored -------------------------------------------------------------------------------


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
