"""Losses: contrastive ones see similarities, predictive ones a prediction and a target."""

from ssl_zoo.losses.base import ContrastiveLoss, PredictiveLoss
from ssl_zoo.losses.contrastive import InfoNCE, NPair
from ssl_zoo.losses.logistic import NTLogistic
from ssl_zoo.losses.margin import ContrastiveMargin, FaceNetTriplet, MarginTriplet
from ssl_zoo.losses.nce import NCE
from ssl_zoo.losses.predictive import NegativeCosine, NormalizedMSE, SoftmaxCrossEntropy

__all__ = [
    "NCE",
    "ContrastiveLoss",
    "ContrastiveMargin",
    "FaceNetTriplet",
    "InfoNCE",
    "MarginTriplet",
    "NPair",
    "NTLogistic",
    "NegativeCosine",
    "NormalizedMSE",
    "PredictiveLoss",
    "SoftmaxCrossEntropy",
]
