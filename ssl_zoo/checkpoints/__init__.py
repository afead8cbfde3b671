"""Loading and exporting backbones: our runs, other libraries and repositories, exported files."""

from ssl_zoo.checkpoints.hints import Hints, hints_of
from ssl_zoo.checkpoints.load import Source, load_backbone, load_pretrained, open_source
from ssl_zoo.checkpoints.loaded import Loaded
from ssl_zoo.checkpoints.ours import FORMAT, Embedder, read_resumable
from ssl_zoo.checkpoints.source import find_checkpoint, identify
from ssl_zoo.checkpoints.weights import build_backbone

__all__ = [
    "FORMAT",
    "Embedder",
    "Hints",
    "Loaded",
    "Source",
    "build_backbone",
    "find_checkpoint",
    "hints_of",
    "identify",
    "load_backbone",
    "load_pretrained",
    "open_source",
    "read_resumable",
]
