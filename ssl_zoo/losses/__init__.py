"""Losses over similarities, a prediction and its target, a batch's statistics, or its labels."""

from ssl_zoo.losses.base import (
    ContrastiveLoss,
    LabelledLoss,
    PredictiveLoss,
    StatisticLoss,
    contrastive_top1,
)
from ssl_zoo.losses.contrastive import InfoNCE, NPair
from ssl_zoo.losses.correlation import CrossCorrelation, VarianceInvarianceCovariance
from ssl_zoo.losses.logistic import NTLogistic
from ssl_zoo.losses.margin import ContrastiveMargin, FaceNetTriplet, MarginTriplet
from ssl_zoo.losses.nce import NCE
from ssl_zoo.losses.predictive import NegativeCosine, NormalizedMSE, SoftmaxCrossEntropy
from ssl_zoo.losses.sigreg import SIGReg
from ssl_zoo.losses.supervised import SupervisedContrastive
from ssl_zoo.losses.swapped import swapped_prediction
from ssl_zoo.losses.whitening import WhitenedMSE

__all__ = [
    "NCE",
    "ContrastiveLoss",
    "ContrastiveMargin",
    "CrossCorrelation",
    "FaceNetTriplet",
    "InfoNCE",
    "LabelledLoss",
    "MarginTriplet",
    "NPair",
    "NTLogistic",
    "NegativeCosine",
    "NormalizedMSE",
    "PredictiveLoss",
    "SIGReg",
    "SoftmaxCrossEntropy",
    "StatisticLoss",
    "SupervisedContrastive",
    "VarianceInvarianceCovariance",
    "WhitenedMSE",
    "contrastive_top1",
    "swapped_prediction",
]
