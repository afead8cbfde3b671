"""Backbones: (N, C, H, W) -> (N, num_features)."""

from ssl_zoo.backbones.from_timm import timm_backbone
from ssl_zoo.backbones.from_torchvision import googlenet, torchvision_backbone
from ssl_zoo.backbones.ported import Variant, ported_resnet
from ssl_zoo.backbones.small import ConvNet, SmallResNet
from ssl_zoo.backbones.stem import Stem

__all__ = [
    "ConvNet",
    "SmallResNet",
    "Stem",
    "Variant",
    "googlenet",
    "ported_resnet",
    "timm_backbone",
    "torchvision_backbone",
]
