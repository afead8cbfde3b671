"""Data sets, splits, order and augmentation."""

from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.datamodule import DataModule
from ssl_zoo.data.images import FileImages, Images, Splits, TensorImages
from ssl_zoo.data.preprocess import Preprocess

__all__ = [
    "Augmentation",
    "DataModule",
    "FileImages",
    "Images",
    "Preprocess",
    "Splits",
    "TensorImages",
]
