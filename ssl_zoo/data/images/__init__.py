"""Images: in one array, in files, or wherever another such class keeps them."""

from ssl_zoo.data.images.base import Images, Splits
from ssl_zoo.data.images.files import FileImages
from ssl_zoo.data.images.tensor import TensorImages, TwoArrays

__all__ = ["FileImages", "Images", "Splits", "TensorImages", "TwoArrays"]
