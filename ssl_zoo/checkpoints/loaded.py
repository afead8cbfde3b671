"""The result of loading a backbone from any source."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import nn

from ssl_zoo.data.preprocess import Preprocess

Output = Literal["representation", "embedding", "auto"]


class Loaded(NamedTuple):
    """A backbone from anywhere.

    Attributes:
        backbone: (N, 3, S, S) -> (N, num_features), in eval mode; has `num_features`.
        preprocess: uint8 (N, 3, H, W) -> what the backbone expects.
        config: `build_backbone` makes the same architecture from it, untrained; None for ONNX and
            TorchScript, which hold no architecture.
        report: One line: what was loaded, what was left over, what is missing.
        run: What one of our runs saved beside its weights: config, preprocess, train_classes ...;
            None for other sources.
    """

    backbone: nn.Module
    preprocess: Preprocess
    config: dict[str, Any] | None
    report: str
    run: dict[str, Any] | None = None
