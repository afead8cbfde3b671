"""The data sets: each function reads one and returns its train and test splits as uint8 images."""

from ssl_zoo.data.datasets.drawn_shapes import shapes
from ssl_zoo.data.datasets.image_folder import folder
from ssl_zoo.data.datasets.packaged import cifar10, cifar100, digits, imagenet, stl10

__all__ = ["cifar10", "cifar100", "digits", "folder", "imagenet", "shapes", "stl10"]
