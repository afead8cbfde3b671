"""Images that must not be looked at: the test split of a run in a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from numpy.typing import NDArray
from torch import Tensor

from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.images.base import Images
from ssl_zoo.data.samplers import EpochSampler
from ssl_zoo.types import UserError


class ClosedImages(Images):
    """Their number, labels and names are known, which identify them; their pixels are not given.

    Args:
        images: What is closed.
        why: The line that says so.
    """

    def __init__(self, images: Images, why: str) -> None:
        self.labels, self.left_out, self.why = images.labels, images.left_out, why
        self._size, self._fingerprint = images.size, images.fingerprint()
        self._files, self._places = images.files(), images.places()

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W), as of the images."""
        return self._size

    def subset(self, index: Tensor) -> NoReturn:
        """Refused."""
        self._refuse()

    def relabelled(self, labels: Tensor) -> NoReturn:
        """Refused."""
        self._refuse()

    def pooled(self, other: Images) -> NoReturn:
        """Refused."""
        self._refuse()

    def train_batches(
        self, sampler: EpochSampler, augmentation: Augmentation, num_workers: int
    ) -> Iterable[Tensor]:
        """Refused."""
        self._refuse()

    def clean_batches(
        self, batches: Sequence[Tensor], geometry: Callable[[Tensor], Tensor], num_workers: int
    ) -> Iterable[Tensor]:
        """Refused."""
        self._refuse()

    def fingerprint(self) -> str:
        """Of the images, so that a run that goes on finds the same split."""
        return self._fingerprint

    def files(self) -> list[str] | None:
        """Of the images."""
        return self._files

    def places(self) -> NDArray[Any]:
        """Of the images."""
        return self._places

    def _refuse(self) -> NoReturn:
        raise UserError(self.why)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # of copy and pickle
            raise AttributeError(name)
        raise UserError(self.why)
