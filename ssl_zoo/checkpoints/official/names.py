"""Weight names converted to torchvision's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

State = dict[str, Tensor]

# nn.Sequential(*resnet.children()), as torchvision orders them, and as lightly's own ResNet does
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_LIGHTLY = {"0": "conv1", "1": "bn1", "2": "layer1", "3": "layer2", "4": "layer3", "5": "layer4"}


def has(state: Mapping[str, Any], prefix: str) -> bool:
    """Whether any name begins with the prefix."""
    return any(isinstance(name, str) and name.startswith(prefix) for name in state)


def state_of(found: Any) -> State:
    """The tensors of a state dict, without a parallel wrapper's prefix; empty if it is not one."""
    if not isinstance(found, Mapping):
        return {}
    tensors = {
        name: value
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return {_renamed(name): value for name, value in tensors.items()}


def _renamed(name: str) -> str:
    """SupCon wraps only its encoder; several repositories have ResNets with a `shortcut`."""
    return name.replace("encoder.module.", "encoder.").replace(".shortcut.", ".downsample.")


def unnumbered(name: str, names: Mapping[str, Any]) -> str:
    """The name of a ResNet's child that a Sequential numbers."""
    number, _, rest = name.partition(".")
    children = _LIGHTLY if has(names, "2.0.") else _CHILDREN if has(names, "4.0.") else {}
    return f"{children.get(number, number)}.{rest}" if rest else name


def is_converted_simclr(content: Mapping[str, Any], state: State) -> bool:
    """Whether these are TensorFlow's weights: in a network of torch that never ran in training."""
    counts = [value for name, value in state.items() if name.endswith("num_batches_tracked")]
    fresh = bool(counts) and not any(bool(count.any()) for count in counts)
    return list(content) == ["state_dict"] and fresh and "fc.weight" in state
