"""Images: in one array, in files, or wherever another such class keeps them."""

from ssl_zoo.data.images.base import Images, Splits
from ssl_zoo.data.images.closed import ClosedImages
from ssl_zoo.data.images.files import FileImages
from ssl_zoo.data.images.tensor import TensorImages, TwoArrays

__all__ = ["ClosedImages", "FileImages", "Images", "Splits", "TensorImages", "TwoArrays"]
