"""The methods, one a file."""

from ssl_zoo.methods.base import Method
from ssl_zoo.methods.simclr import SimCLR

__all__ = ["Method", "SimCLR"]
