"""Retrieval on classes that nothing was chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import torch
from torch import Tensor

from ssl_zoo.console import info, warn
from ssl_zoo.data import DataModule
from ssl_zoo.data.loaders import CleanLoader
from ssl_zoo.data.splits import ClassSplit, class_split_of, make_class_split
from ssl_zoo.evaluation.clustering import clustering_metrics
from ssl_zoo.evaluation.features import Features
from ssl_zoo.evaluation.retrieval import (
    RetrievalMetrics,
    class_bootstrap,
    nearest,
    retrieval_metrics,
)
from ssl_zoo.figures import draw_gallery, save
from ssl_zoo.hashing import GALLERY_STREAM, hash_int64
from ssl_zoo.protocols.base import Protocol, check_labels
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.types import BadValue

_SHOWN = 8  # queries in the picture, and neighbours of each


class Retrieval(Protocol):
    """Every image of the test classes searches for its class among all other images of these.

    The classes are split by name, half of them test; folds of the other half give the `val_`
    scores. If no class of the data set's test split is one of train or val, test's are the test
    classes. Fewer classes are easier: compare val with val and test with test, never the two. The
    labelled images of all the data set's splits take part, since classes are held out, not images.

    Args:
        mode: For the class split, "hash" or "contiguous"; a data set's own class split overrides
            it and the next three.
        seed: For the class split.
        test_fraction: Part of the classes that is test.
        num_folds: Folds of validation classes.
        images: "all", or "test" = only the test split's, if all are too many.
        num_resamples: For the interval.
        clustering: Whether to add NMI, AMI and F1, which are weak measures.

    Raises:
        BadValue: If `images` is neither all nor test.

    Source: Musgrave et al. 2020 (A Metric Learning Reality Check), sec. 3.
    """

    headline = "test_map_at_r"
    columns = ("test_map_at_r", "test_precision_at_1", "test_r_precision", "test_recall_at_10")

    def __init__(
        self,
        mode: Literal["hash", "contiguous"],
        seed: int,
        test_fraction: float,
        num_folds: int,
        images: Literal["all", "test"],
        num_resamples: int,
        clustering: bool,
    ) -> None:
        if images not in ("all", "test"):
            raise BadValue("images", images, "all or test")
        self.mode, self.seed, self.test_fraction = mode, seed, test_fraction
        self.num_folds, self.images = num_folds, images
        self.num_resamples, self.clustering = num_resamples, clustering

    def check(self, data: DataModule) -> None:
        check_labels(data)
        if data.class_split is None and (given := _given_split(data, self.num_folds)) is not None:
            info(
                f"retrieval: test's {len(given.test)} classes are those that are searched for, as "
                "the data set comes, since train and val have none of them"
            )

    def identity(self, data: DataModule) -> Any:
        found = super().identity(data)
        if data.class_split is None and _given_split(data, self.num_folds) is not None:
            found["class_split"] = "as the data set comes"
        return found

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`val_` means over folds, `test_` scores, their interval over classes, and counts."""
        splits = candidate.features[2:] if self.images == "test" else candidate.features
        pool = Features(*map(torch.cat, zip(*splits, strict=True)))
        split = self._class_split(candidate)
        folds = _unseen(split.folds, candidate)
        val = [self._metrics(candidate, pool, fold, "validation") for fold in folds]
        test = self._metrics(candidate, pool, split.test, "test")
        rows = _rows(pool, split.test)
        if candidate.is_first:
            _tell_certain(test, len(rows))
        if (path := candidate.figure("gallery")) is not None:
            self._draw(candidate, pool, rows, path)
        scores = _val_scores(val) | self._test_scores(test, candidate.seed)
        scores["val_classes_seen"] = _num_seen(
            sorted({c for fold in folds for c in fold}), candidate
        )
        scores["test_classes_seen"] = _num_seen(split.test, candidate)
        if self.clustering:
            scores |= _weak_scores(pool.representation[rows], pool.label[rows], candidate.seed)
        return scores

    def _class_split(self, candidate: Candidate) -> ClassSplit:
        if (given := _given_split(candidate.data, self.num_folds)) is not None:
            return given
        names = candidate.data.class_names
        split = make_class_split(names, self.mode, self.seed, self.test_fraction, self.num_folds)
        if len(split.folds) < self.num_folds and candidate.name not in self.floors:
            info(
                f"retrieval: {len(names)} classes make {len(split.folds)} folds of validation "
                f"classes, not num_folds={self.num_folds}"
            )
        return split

    def _metrics(
        self, candidate: Candidate, pool: Features, classes: list[int], part: str
    ) -> RetrievalMetrics:
        rows = _rows(pool, classes)
        if len(pool.label[rows].unique()) == len(rows):
            says = f"leaves no {part} class two images, so that none has another to find: " + (
                "use all" if self.images == "test" else "give more images per class"
            )
            raise BadValue("images", self.images, says=says)
        with candidate.bar(f"retrieval of {part} classes") as progress:
            return retrieval_metrics(pool.representation[rows], pool.label[rows], progress=progress)

    def _test_scores(self, test: RetrievalMetrics, seed: int) -> dict[str, Any]:
        values, label = test.per_query.map_at_r, test.per_query.label
        return {
            "test_map_at_r": test.map_at_r,
            "test_map_at_r_interval": list(
                class_bootstrap(values, label, self.num_resamples, seed)
            ),
            "test_macro_map_at_r": test.macro_map_at_r,
            "test_precision_at_1": test.precision_at_1,
            "test_chance_precision_at_1": test.chance_precision_at_1,
            "test_r_precision": test.r_precision,
            "test_recall_at_5": test.recall_at[5],
            "test_recall_at_10": test.recall_at[10],
            "num_test_classes": test.num_classes,
            "num_test_images": test.num_queries + test.num_lone,
            "num_lone": test.num_lone,
        }

    def _draw(self, candidate: Candidate, pool: Features, rows: Tensor, path: Path) -> None:
        """A gallery: queries of the test classes and their nearest images."""
        label = pool.label[rows]
        count = label.bincount()
        findable = (count[label] > 1).nonzero().flatten()
        shown = findable[hash_int64(findable, GALLERY_STREAM, self.seed).argsort()[:_SHOWN]]
        index = nearest(pool.representation[rows], _SHOWN, shown)
        loaders = candidate.loaders()[2:] if self.images == "test" else candidate.loaders()
        gallery = draw_gallery(
            _images(loaders, rows[shown]),
            [_images(loaders, rows[row]) for row in index],
            (label[index] == label[shown, None]).tolist(),
        )
        save(gallery, path)


def _given_split(data: DataModule, num_folds: int) -> ClassSplit | None:
    """The data's own class split, by `class_split` or since test's classes are others."""
    if data.class_split is not None:
        return data.class_split
    return class_split_of(data.train, data.val, data.test, data.class_names, num_folds)


def _tell_certain(test: RetrievalMetrics, num_images: int) -> None:
    """Say which recalls are 1 whatever the features, since a query has no more images to search."""
    if certain := [f"R@{k}" for k in sorted(test.recall_at) if k >= num_images - 1]:
        info(
            f"retrieval: the test classes have {num_images} images, so that {' and '.join(certain)}"
            " finds all the others of a query: 100% says nothing"
        )


def _rows(pool: Features, classes: list[int]) -> Tensor:
    wanted = torch.tensor(classes, device=pool.label.device)
    return torch.isin(pool.label, wanted).nonzero().flatten()


def _unseen(folds: list[list[int]], candidate: Candidate) -> list[list[int]]:
    """The folds in which pretraining saw no class, such as a run's own fold; else all."""
    return [fold for fold in folds if _num_seen(fold, candidate) == 0] or folds


def _num_seen(classes: list[int], candidate: Candidate) -> int | None:
    """How many of the classes pretraining saw images of, labelled or not; None = unknown."""
    if candidate.seen_classes is None:
        return None
    return sum(candidate.data.class_names[label] in candidate.seen_classes for label in classes)


def _val_scores(folds: Sequence[RetrievalMetrics]) -> dict[str, Any]:
    values = [fold.map_at_r for fold in folds]
    several = len(folds) > 1
    return {
        "val_map_at_r": fmean(values),
        "val_map_at_r_sem": stdev(values) / len(values) ** 0.5 if several else None,
        "val_precision_at_1": fmean(fold.precision_at_1 for fold in folds),
        "num_val_folds": len(folds),
    }


def _weak_scores(representation: Tensor, label: Tensor, seed: int) -> dict[str, Any]:
    warn("NMI, AMI and F1 are weak measures, they depend on k-means: compare by MAP@R")
    scores = clustering_metrics(representation, label, seed)
    return {f"weak_{name}": value for name, value in scores._asdict().items()}


def _images(loaders: Sequence[CleanLoader], positions: Tensor) -> list[Tensor]:
    """The images at positions in the loaders' concatenated labelled rows: uint8."""
    parts = [(one, one.index[one.images.labels[one.index] >= 0]) for one in loaders]
    places = [(loader, i) for loader, index in parts for i in index.tolist()]
    chosen = [places[position] for position in positions.tolist()]
    return [_image(loader, i) for loader, i in chosen]


def _image(loader: CleanLoader, i: int) -> Tensor:
    batch = next(iter(CleanLoader(loader.images, loader.preprocess, 1, 0, torch.tensor([i]))))
    assert isinstance(batch.images, Tensor)
    return batch.images[0]
