"""Images: in one array, or in files."""

from ssl_zoo.data.images.base import Images, Splits, pool
from ssl_zoo.data.images.files import FileImages
from ssl_zoo.data.images.tensor import TensorImages, TwoArrays

__all__ = ["FileImages", "Images", "Splits", "TensorImages", "TwoArrays", "pool"]
