"""The data module: splits, loaders, and views made on the device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from ssl_zoo import distributed
from ssl_zoo.console import info
from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.contract import check_splits, check_views
from ssl_zoo.data.facts import whose_statistics
from ssl_zoo.data.fingerprint import split_fingerprint
from ssl_zoo.data.images import ClosedImages, Images, Splits
from ssl_zoo.data.listing import together
from ssl_zoo.data.loaders import CleanLoader, RawBatch, TrainLoader
from ssl_zoo.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from ssl_zoo.data.samplers import EpochSampler, MPerClassSampler, limited
from ssl_zoo.data.shared_classes import class_ids, differences, share_no_class
from ssl_zoo.data.splits import Mode, Parts, class_disjoint, within_classes
from ssl_zoo.hashing import SPLIT_STREAM, hash_int64
from ssl_zoo.sealing import refusal
from ssl_zoo.types import BadValue, MultiViewBatch, UserError

_LARGEST = 224  # side that images are given to the backbone at, unless another is asked for
_MEASURED = 2000  # files whose statistics stand for all: decoding all may take hours


def channel_statistics(
    images: Images, num_workers: int = 0
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images scaled to [0, 1].

    Images that do not fit one tensor are read one by one, by workers, at most 2,000 of them.
    """
    total, square, count = torch.zeros(3).double(), torch.zeros(3).double(), 0
    batches = torch.arange(len(images)).split(4096)
    if images.size is None:
        batches = torch.arange(0, len(images), max(1, len(images) // _MEASURED)).split(1)
    for batch in images.clean_batches(batches, _as_it_is, num_workers):
        x = batch.double() / 255
        total += x.sum(dim=(0, 2, 3))
        square += (x * x).sum(dim=(0, 2, 3))
        count += x[:, 0].numel()
    mean = total / count
    std = (square / count - mean**2).clamp_min(0).sqrt().clamp_min(1e-3)  # 1e-3: constant images
    return tuple(mean.tolist()), tuple(std.tolist())


def _as_it_is(image: Tensor) -> Tensor:
    return image


class DataModule(LightningDataModule):
    """Loaders `train bank val test` of one data set.

    Args:
        splits: Train and test images.
        augmentation: Factory, `augmentation(size=, mean=, std=, seed=)`.
        batch_size: Images per optimizer step, over all devices.
        accumulate: Micro-batches per optimizer step.
        image_size: Side of the backbone's input; None = as the images are, if nearly all have one
            size, but at most 224; else 224.
        crop_fraction: Side of the clean images' centre crop over the resized image's shorter side;
            None = 1 if nearly all images have one size, else 0.875.
        view_size: Side of the training views; None = image_size.
        val_fraction: Part of each class that is held out of train, if the data set has no val.
        split_seed: For that split; not the run's seed, so that all runs hold out the same images.
        num_workers: Processes that decode files.
        seed: For order and augmentation.
        mean: Per channel; None = the data set's own, or ImageNet's for images of mixed sizes.
        std: Likewise.
        eval_batch_size: Images per batch in evaluation.
        class_split: Split by class, "hash" or "contiguous", instead of within each class; see
            `class_disjoint`. None = val is held out of each class of train.
        class_split_seed: For "hash".
        fold: For the class split: which classes are val.
        images_per_class: Images of each class in a training batch; None = batches regardless of
            class.
        overfit_batches: Every epoch repeats the first micro-batches of the first one: this many,
            or this fraction of them; 0 = all, with a new order in each epoch.

    Attributes:
        num_images: Images in the training split.
        num_classes: Classes of all splits; 0 = unlabelled.
        num_train_classes: The classes of train are 0 to this; a classifier's answers are these.
        view_size: Side of the training views, where a view does not set its own.
        class_split: The classes of train and val and of test; None = not split by class.
        statistics: Whose mean and std normalise the images, in words.
        left_out: Files of all splits that were not read, by reason.
    """

    def __init__(
        self,
        splits: Splits,
        augmentation: Callable[..., Augmentation],
        batch_size: int = 256,
        accumulate: int = 1,
        image_size: int | None = None,
        view_size: int | None = None,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        num_workers: int = 2,
        seed: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        eval_batch_size: int = 512,
        class_split: Mode | None = None,
        class_split_seed: int = 0,
        fold: int = 0,
        images_per_class: int | None = None,
        overfit_batches: int | float = 0,
        crop_fraction: float | None = None,
    ) -> None:
        super().__init__()
        parts = _parts(splits, class_split, class_split_seed, fold, val_fraction, split_seed)
        self.left_out = _left_out(splits)
        self.val_is_of_train = splits.val is None and class_split is None
        self.train, self.val, self.test, self.class_names, self.class_split, seen = parts
        self.num_train_classes, self.num_classes = seen, len(self.class_names)
        self.num_images = len(self.train)
        self.batch_size, self.accumulate = batch_size, accumulate
        self.images_per_class, self.overfit_batches = images_per_class, overfit_batches
        self.num_workers, self.seed, self.eval_batch_size = num_workers, seed, eval_batch_size
        given = image_size, crop_fraction, mean, std
        self.preprocess = _preprocess(self.train, splits, *given, num_workers)
        self.statistics = whose_statistics(self.preprocess, mean or std, splits)
        self.view_size = self.preprocess.image_size if view_size is None else view_size
        own = self.preprocess.options()
        self.augmentation = augmentation(
            size=self.view_size, mean=own["mean"], std=own["std"], seed=seed
        )

    def prepared(self, preprocess: Preprocess) -> DataModule:
        """The same data, whose clean images are prepared in another way; nothing is read again."""
        other = copy.copy(self)
        other.preprocess = preprocess
        return other

    @property
    def num_batches(self) -> int:
        """Micro-batches per epoch."""
        whole = self.num_images // self.batch_size * self.accumulate
        part = self.overfit_batches or None
        return limited("overfit_batches", part, whole)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return -(-self.num_batches // self.accumulate)

    @cached_property
    def train_labels(self) -> Tensor:
        """The classes that train has labelled images of, ascending: those that can be learned."""
        return torch.tensor(class_ids(self.train))

    @cached_property
    def val_is_apart(self) -> bool:
        """Whether no class of val is one of train, so that val cannot be classified."""
        return share_no_class(self.train, self.val)

    @property
    def num_views(self) -> int:
        """Views of each image in a training batch.

        Raises:
            UserError: If the augmentation does not say.
        """
        views = getattr(self.augmentation, "num_views", None)
        if not isinstance(views, int) or views < 1:
            name = type(self.augmentation).__name__
            raise UserError(f"the augmentation {name} has num_views={views}: set it, an int")
        return views

    @property
    def view_sizes(self) -> list[int]:
        """Side of each view; of one's own augmentation, which may not say, the views' one size."""
        sizes = getattr(self.augmentation, "sizes", None)
        return [self.view_size] * self.num_views if sizes is None else list(sizes)

    def train_dataloader(self) -> TrainLoader:
        sampler = self._sampler()
        if self.overfit_batches:
            sampler.repeat_first(self.num_batches)
        return TrainLoader(self.train, sampler, self.augmentation, self.num_workers)

    def _sampler(self) -> EpochSampler:
        shared = {
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "seed": self.seed,
            "rank": distributed.rank(),
            "world_size": distributed.world_size(),
        }
        if self.images_per_class is None:
            return EpochSampler(self.num_images, **shared)
        sampler = MPerClassSampler(self.train.labels, self.images_per_class, **shared)
        if self._num_short_classes:
            info(
                f"{self._num_short_classes} classes have fewer images than images_per_class="
                f"{self.images_per_class}: batches repeat them"
            )
            self._num_short_classes = 0  # reported once
        return sampler

    @cached_property
    def _num_short_classes(self) -> int:
        """Training classes with too few images for their part of a batch."""
        labels = self.train.labels
        counts = labels[labels >= 0].unique(return_counts=True)[1]
        return int((counts < (self.images_per_class or 0)).sum())

    def bank_dataloader(self, size: int | None = None) -> CleanLoader:
        """The labelled training images, unaugmented; `size` of them, drawn by a fixed hash."""
        labelled = (self.train.labels >= 0).nonzero().flatten()
        if size is not None and size < len(labelled):
            order = hash_int64(labelled, SPLIT_STREAM, 1).argsort()
            labelled = labelled[order[:size]].sort().values
        return self._clean(self.train, labelled)

    def val_dataloader(self) -> CleanLoader:
        """The images to choose on: the data set's own val, or the held-out part of train."""
        return self._clean(self.val, torch.arange(len(self.val)))

    def test_dataloader(self) -> CleanLoader:
        """The test images; only evaluate.py reads them.

        Raises:
            UserError: If the data set has none, or a study has not opened them yet.
        """
        if isinstance(self.test, ClosedImages):
            raise UserError(self.test.why)
        if self.test is None:
            raise UserError(
                "this data set has no test images: give it a test folder beside train, or use the "
                "protocol retrieval, which holds classes out instead"
            )
        return self._clean(self.test, torch.arange(len(self.test)))

    def _clean(self, images: Images, index: Tensor) -> CleanLoader:
        part = index[distributed.rank() :: distributed.world_size()]
        return CleanLoader(images, self.preprocess, self.eval_batch_size, self.num_workers, part)

    def transfer_batch_to_device(
        self, batch: RawBatch, device: torch.device, dataloader_idx: int
    ) -> MultiViewBatch:
        """Augment on the device. The index stays on the CPU for the draws, so that no GPU waits."""
        views = self.augmentation(batch.images, batch.index, batch.epoch, device)
        check_views(views, len(batch.index), self.num_views)
        if self.trainer is not None:  # such as precision=bf16-true
            views = self.trainer.precision_plugin.convert_input(views)
        return MultiViewBatch(views, batch.label.to(device), batch.index.to(device))

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What identifies the images, their split and their classes, as plain data."""
        names = self.class_names
        if self.class_split is None:  # training goes on whatever classes test has
            names = names[: self.num_train_classes]
        return split_fingerprint(self.train, self.val, self.test, names)

    def options(self) -> dict[str, Any]:
        """What load_backbone needs to prepare images, as plain data."""
        return self.preprocess.options()


def _closed(parts: Parts) -> Parts:
    """Without test's pixels, in a process of a study that must not look at them."""
    why = refusal()
    return parts._replace(test=ClosedImages(parts.test, why)) if why and parts.test else parts


def _parts(
    splits: Splits,
    class_split: Mode | None,
    class_split_seed: int,
    fold: int,
    val_fraction: float,
    split_seed: int,
) -> Parts:
    """Split by class if `class_split` is given, else within each class."""
    check_splits(splits)
    if not 0 <= val_fraction < 1:
        raise BadValue("val_fraction", val_fraction, "in [0, 1)")
    if class_split is not None:
        parts = class_disjoint(splits, class_split, class_split_seed, fold)
        info(parts.summary())
        return _closed(parts)
    for name, value in (("fold", fold), ("class_split_seed", class_split_seed)):
        if value:
            raise BadValue(name, value, says="needs class_split=hash or contiguous")
    parts = within_classes(splits, val_fraction, split_seed)
    for line in differences(parts.train, parts.val, parts.test, parts.class_names):
        info(line)
    return _closed(parts)


def _left_out(splits: Splits) -> dict[str, int]:
    parts = (splits.train, splits.test, splits.val)
    return together(*(images.left_out for images in parts if images is not None))


def _preprocess(
    images: Images,
    splits: Splits,
    image_size: int | None,
    crop_fraction: float | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    num_workers: int,
) -> Preprocess:
    """Images of one size keep it, up to a limit, and are normalised by their own statistics.

    Others are cropped. One image of another size changes none of that.
    """
    mean = splits.mean if mean is None else mean
    std, white = splits.std if std is None else std, splits.white
    size = images.common_size
    side = _LARGEST if size is None else min(*size, _LARGEST)
    side = side if image_size is None else image_size
    whole = 0.875 if size is None else 1.0
    crop = whole if crop_fraction is None else crop_fraction
    some_mean = IMAGENET_MEAN if mean is None else mean
    some_std = IMAGENET_STD if std is None else std
    # what makes no sense is refused before the statistics are measured
    prepared = Preprocess(side, crop, some_mean, some_std, white)
    if size is None or (mean is not None and std is not None):
        return prepared
    own_mean, own_std = channel_statistics(images, num_workers)
    mean, std = own_mean if mean is None else mean, own_std if std is None else std
    return Preprocess(side, crop, mean, std, white)
