"""The protocols of evaluate.py: each scores one backbone on one data set."""

from ssl_zoo.protocols.base import Protocol
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.detection import Detection
from ssl_zoo.protocols.embed import Embed
from ssl_zoo.protocols.few_shot import FewShot
from ssl_zoo.protocols.finetune import Finetune
from ssl_zoo.protocols.knn import KNN
from ssl_zoo.protocols.lidar import LiDAR
from ssl_zoo.protocols.linear import Linear
from ssl_zoo.protocols.linear_augmented import LinearAugmented
from ssl_zoo.protocols.logistic import Logistic
from ssl_zoo.protocols.retrieval import Retrieval

__all__ = [
    "KNN",
    "Candidate",
    "Detection",
    "Embed",
    "FewShot",
    "Finetune",
    "LiDAR",
    "Linear",
    "LinearAugmented",
    "Logistic",
    "Protocol",
    "Retrieval",
]
