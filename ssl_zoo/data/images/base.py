"""The interface of images, and what a data set consists of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray
from torch import Tensor

from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.samplers import EpochSampler

if TYPE_CHECKING:
    from typing_extensions import Self


class Images(ABC):
    """N images and their labels, wherever the pixels are.

    Nothing outside this folder depends on the class: another format, such as a stream or an
    array on disk, is one more subclass.

    Attributes:
        labels: (N,) int64, -1 = unlabelled.
        left_out: How many files of the place that they were read from were left out, by reason in
            plain English, such as ".txt: not an image that Pillow reads"; parts of these images
            have the same. Empty if nothing was.
    """

    labels: Tensor
    left_out: Mapping[str, int] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def size(self) -> tuple[int, int] | None:
        """(H, W) that all images are known to share, else None."""

    @property
    def common_size(self) -> tuple[int, int] | None:
        """(H, W) that all images share, or nearly all; None if sizes are mixed or not known."""
        return self.size

    @abstractmethod
    def subset(self, index: Tensor) -> Self:
        """The images at `index`, an int64 tensor; no pixel is copied."""

    @abstractmethod
    def relabelled(self, labels: Tensor) -> Self:
        """The same images with other labels (N,)."""

    @abstractmethod
    def pooled(self, other: Self) -> Self:
        """The images of both, the other's after these; no pixel is copied."""

    @abstractmethod
    def train_batches(
        self, sampler: EpochSampler, augmentation: Augmentation, num_workers: int
    ) -> Iterable[Tensor | list[Tensor]]:
        """The batches that training reads.

        Args:
            sampler: Each pass takes its pending batches, in their order.
            augmentation: Its `crop` makes the crops of one image, if whole images do not fit
                one tensor.
            num_workers: Processes that may be used to read.

        Returns:
            An iterable for each epoch: a batch of uint8 images (n, 3, H, W), or the V batches of
            its crops (n, 3, S, S), which may differ in S.
        """

    @abstractmethod
    def clean_batches(
        self, batches: Sequence[Tensor], geometry: Callable[[Tensor], Tensor], num_workers: int
    ) -> Iterable[Tensor]:
        """The batches that evaluation reads, once.

        Args:
            batches: The positions (n,) of each batch.
            geometry: uint8 images (..., 3, H, W) -> (..., 3, S, S).
            num_workers: Processes that may be used to read.

        Returns:
            The uint8 batches (n, 3, S, S).
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that identifies these images, in whatever folder they are."""

    def files(self) -> list[str] | None:
        """The file of each image; None where they are not files."""
        return None

    @abstractmethod
    def places(self) -> NDArray[Any]:
        """(N,) where each image is: a path, or a row of the original array."""


class Splits(NamedTuple):
    """The parts of a data set.

    Attributes:
        train: Training images.
        test: Test images, of the same kind; None when the data set has none.
        class_names: Name of each label; empty when the images are unlabelled.
        mean: Mean of R, G, B in [0, 1] over train; None when it is not known beforehand.
        std: Likewise.
        val: Images to choose on, which are not in train; None = a part of train is held out.
        white: The value that is white in files of 16 bits; None = 65535.
    """

    train: Images
    test: Images | None
    class_names: list[str]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    val: Images | None = None
    white: int | None = None
