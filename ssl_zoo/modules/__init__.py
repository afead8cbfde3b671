"""The parts that methods are composed from."""

from ssl_zoo.modules.encoder import Encoder
from ssl_zoo.modules.heads import MLP, Identity, Linear
from ssl_zoo.modules.negatives import InBatch, Queue
from ssl_zoo.modules.targets import Momentum, Shared, StopGradient

__all__ = [
    "MLP",
    "Encoder",
    "Identity",
    "InBatch",
    "Linear",
    "Momentum",
    "Queue",
    "Shared",
    "StopGradient",
]
