"""The methods, one per file."""

from ssl_zoo.methods.barlow_twins import BarlowTwins
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.byol import BYOL
from ssl_zoo.methods.instdisc import InstDisc
from ssl_zoo.methods.lejepa import LeJEPA
from ssl_zoo.methods.metric_learning import MetricLearning
from ssl_zoo.methods.moco import MoCo
from ssl_zoo.methods.simclr import SimCLR
from ssl_zoo.methods.simsiam import SimSiam
from ssl_zoo.methods.swav import SwAV
from ssl_zoo.methods.vicreg import VICReg

__all__ = [
    "BYOL",
    "BarlowTwins",
    "InstDisc",
    "LeJEPA",
    "Method",
    "MetricLearning",
    "MoCo",
    "SimCLR",
    "SimSiam",
    "SwAV",
    "VICReg",
]
