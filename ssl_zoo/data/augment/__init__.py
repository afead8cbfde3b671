"""Random views of whole batches of images, on the device."""

from ssl_zoo.data.augment.draws import ViewParameters
from ssl_zoo.data.augment.settings import OPS
from ssl_zoo.data.augment.views import Augmentation

__all__ = ["OPS", "Augmentation", "ViewParameters"]
