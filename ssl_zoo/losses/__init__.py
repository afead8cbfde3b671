"""Losses: contrastive ones see similarities, predictive ones a prediction and a target."""

from ssl_zoo.losses.contrastive import InfoNCE

__all__ = ["InfoNCE"]
