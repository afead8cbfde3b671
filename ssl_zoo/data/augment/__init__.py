"""Random views of whole batches of images, on the device."""

from ssl_zoo.data.augment.views import OPS, Augmentation, ViewParameters

__all__ = ["OPS", "Augmentation", "ViewParameters"]
