"""Self-supervised pretraining of image backbones, and honest comparison between methods."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "embed", "load_backbone"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import ssl_zoo` (and with it --help) stays free of torch.
    if name == "load_backbone":
        from ssl_zoo.checkpoints.load import load_backbone

        return load_backbone
    if name == "embed":
        from ssl_zoo.checkpoints.embedding import embed

        return embed
    raise AttributeError(f"module 'ssl_zoo' has no attribute {name!r}")
