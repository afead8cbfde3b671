"""Backbones in and out: our runs, other libraries and repositories, exported files."""

from ssl_zoo.checkpoints.load import Embedder, load_backbone, load_pretrained
from ssl_zoo.checkpoints.weights import Pretrained, build_backbone

__all__ = ["Embedder", "Pretrained", "build_backbone", "load_backbone", "load_pretrained"]
