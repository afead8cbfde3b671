"""The tensors of a file under one name each, and names converted to torchvision's and timm's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_zoo.checkpoints.unpickle import Array

State = dict[str, Tensor]

# What wrappers put between the names: DataParallel, DDP and AveragedModel; torch.compile; FSDP;
# activation checkpoints; DeepSpeed's and FSDP's strategies in Lightning.
_WRAPPERS = frozenset(
    {
        *("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
        *("_forward_module", "_wrapped_module"),
    }
)
_DEEPEST = 8  # containers within containers; VISSL has five dicts

# nn.Sequential(*resnet.children()), as torchvision orders them; the same without a max-pool; and as
# lightly's own ResNet orders them
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_NO_POOL = {"0": "conv1", "1": "bn1", "3": "layer1", "4": "layer2", "5": "layer3", "6": "layer4"}
_LIGHTLY = {"0": "conv1", "1": "bn1", "2": "layer1", "3": "layer2", "4": "layer3", "5": "layer4"}

# One weight of the first stage, and the stem's weight, of each family of names: torchvision's
# ResNets, those numbered by a Sequential, timm's ViTs (with DINOv2's chunks), OpenMMLab's,
# torchvision's.
_FAMILIES = tuple(
    (re.compile(rf"((?:.*\.)?){stage}"), stem)
    for stage, stem in (
        (r"layer1\.0\.conv1\.weight", "conv1.weight"),
        (r"[234]\.0\.conv1\.weight", "0.weight"),
        (r"blocks\.0\.(?:0\.)?norm1\.weight", "patch_embed.proj.weight"),
        (r"layers\.0\.ln1\.weight", "patch_embed.projection.weight"),
        (r"encoder\.layers\.encoder_layer_0\.ln_1\.weight", "conv_proj.weight"),
    )
)


def has(state: Mapping[str, Any], prefix: str) -> bool:
    """Whether any name begins with the prefix."""
    return any(isinstance(name, str) and name.startswith(prefix) for name in state)


def tensors_of(content: Any) -> State:
    """All tensors and number arrays of a file, of containers within containers too.

    Args:
        content: As read from the file.

    Returns:
        By the keys on the way, joined by dots, without the wrappers' parts:
        "state_dict.encoder_q.conv1.weight".
    """
    state: State = {}
    for path, tensor in _walk(content, (), set()):
        name = ".".join(path)
        kept = unwrapped(name)
        # several repositories have ResNets with a `shortcut`
        for given in (kept, name):
            if (final := given.replace(".shortcut.", ".downsample.")) not in state:
                state[final] = tensor
                break
    return state


def unwrapped(name: str) -> str:
    """A name without the wrappers' parts."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _walk(
    node: Any, path: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Each tensor with the keys that lead to it; a dict that is there twice counts once."""
    if isinstance(node, Tensor):
        yield path, node
    elif isinstance(node, Array) and node.value is not None:
        native = node.value.dtype.newbyteorder("=")
        yield path, torch.from_numpy(node.value.astype(native))
    elif isinstance(node, Mapping | list | tuple) and len(path) < _DEEPEST and id(node) not in seen:
        seen.add(id(node))
        # integers as keys of a dict are those of an optimizer's state
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in items:
            if isinstance(key, str) or not isinstance(node, Mapping):
                yield from _walk(value, (*path, str(key)), seen)


def holds_tensors(node: Any) -> bool:
    """Whether a value of a file is a tensor or a dict with one somewhere."""
    return next(_walk(node, (), set()), None) is not None


def prefixes_of(state: State) -> list[str]:
    """The prefixes below which a whole backbone lies; of none, the only one with a stage of one."""
    stages: dict[str, bool] = {}
    for name in state:
        for pattern, stem in _FAMILIES:
            if found := pattern.fullmatch(name):
                prefix = found[1]
                stages[prefix] = stages.get(prefix, False) or f"{prefix}{stem}" in state
    whole = [prefix for prefix, is_whole in stages.items() if is_whole]
    # several that are not whole are the stages of another network, such as Swin's
    return whole or (list(stages) if len(stages) == 1 else [])


def below(state: State, prefix: str) -> State:
    """The tensors whose names begin with a prefix, without it."""
    return {name[len(prefix) :]: v for name, v in state.items() if name.startswith(prefix)}


def unnumbered(weights: State) -> State:
    """A ResNet's children that a Sequential numbers, under their own names."""
    children = next(
        (
            names
            for first, names in (("2.0.", _LIGHTLY), ("3.0.", _NO_POOL), ("4.0.", _CHILDREN))
            if has(weights, first)
        ),
        {},
    )

    def named(name: str) -> str:
        number, _, rest = name.partition(".")
        return f"{children.get(number, number)}.{rest}" if rest else name

    return {named(name): value for name, value in weights.items()}


def lacks_pool(weights: State) -> bool:
    """Whether a Sequential's numbers leave no place for a max-pool after the stem's ReLU."""
    return has(weights, "3.0.conv1.") and not has(weights, "2.0.conv1.")
