"""Optimizers, schedules and parameter groups."""

from ssl_zoo.optim.joint import JointOptimizer, build_joint_optimizer
from ssl_zoo.optim.lars import LARS
from ssl_zoo.optim.param_groups import build_optimizer
from ssl_zoo.optim.schedules import constant, cosine_by_epoch, multistep, warmup_cosine

__all__ = [
    "LARS",
    "JointOptimizer",
    "build_joint_optimizer",
    "build_optimizer",
    "constant",
    "cosine_by_epoch",
    "multistep",
    "warmup_cosine",
]
