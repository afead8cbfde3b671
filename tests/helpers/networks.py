"""Networks without memory, and with norms that are not as they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def on_meta(build: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> Any:
    """Built without memory or work: shapes and counts alone."""
    with torch.device("meta"):
        return build(*args, **kwargs)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def map_before_pooling(model: Any, images: Tensor) -> tuple[int, ...]:
    shapes: list[tuple[int, ...]] = []
    hook = model.layer4.register_forward_hook(lambda m, x, y: shapes.append(tuple(y.shape)))
    model(images)
    hook.remove()
    return shapes[0]


def stages(model: Any) -> list[Any]:
    return [model.layer1, model.layer2, model.layer3, model.layer4]


def randomised(network: nn.Module) -> nn.Module:
    """Statistics and counters as after training, so that none can go missing unseen."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(7)
        elif value.ndim == 1:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        else:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.05)
    return network.eval()
