"""The parts that methods are composed from."""

from ssl_zoo.modules.assignment import Assignment, Sinkhorn, Softmax
from ssl_zoo.modules.encoder import Encoder
from ssl_zoo.modules.heads import MLP, Frozen, Identity, Linear
from ssl_zoo.modules.miners import AllTuples, DisjointPairs, DisjointTriplets
from ssl_zoo.modules.negatives import InBatch, MemoryBank, Negatives, Queue
from ssl_zoo.modules.norms import SplitBatchNorm
from ssl_zoo.modules.prototypes import EmbeddingQueue, Prototypes
from ssl_zoo.modules.support_set import SupportSet
from ssl_zoo.modules.targets import Lagged, Momentum, Shared, ShuffleBN, StopGradient, Target

__all__ = [
    "MLP",
    "AllTuples",
    "Assignment",
    "DisjointPairs",
    "DisjointTriplets",
    "EmbeddingQueue",
    "Encoder",
    "Frozen",
    "Identity",
    "InBatch",
    "Lagged",
    "Linear",
    "MemoryBank",
    "Momentum",
    "Negatives",
    "Prototypes",
    "Queue",
    "Shared",
    "ShuffleBN",
    "Sinkhorn",
    "Softmax",
    "SplitBatchNorm",
    "StopGradient",
    "SupportSet",
    "Target",
]
