"""The methods, one per file."""

from ssl_zoo.methods.barlow_twins import BarlowTwins
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.byol import BYOL
from ssl_zoo.methods.instdisc import InstDisc
from ssl_zoo.methods.lejepa import LeJEPA
from ssl_zoo.methods.metric_learning import MetricLearning
from ssl_zoo.methods.moco import MoCo
from ssl_zoo.methods.mocov3 import MoCoV3
from ssl_zoo.methods.nnclr import NNCLR
from ssl_zoo.methods.simclr import SimCLR
from ssl_zoo.methods.simsiam import SimSiam
from ssl_zoo.methods.supcon import SupCon
from ssl_zoo.methods.swav import SwAV
from ssl_zoo.methods.vicreg import VICReg

__all__ = [
    "BYOL",
    "NNCLR",
    "BarlowTwins",
    "InstDisc",
    "LeJEPA",
    "Method",
    "MetricLearning",
    "MoCo",
    "MoCoV3",
    "SimCLR",
    "SimSiam",
    "SupCon",
    "SwAV",
    "VICReg",
]
