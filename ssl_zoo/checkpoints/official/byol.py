"""BYOL's checkpoints: a pickled haiku experiment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_zoo.checkpoints.official.names import State, has
from ssl_zoo.checkpoints.unpickle import Array, Placeholder
from ssl_zoo.types import UserError


def _tree(node: Any) -> dict[str, Any]:
    """A haiku mapping: a dict, or a placeholder for a class made from one."""
    if isinstance(node, Placeholder) and node.args:
        node = node.args[0]
    items = node.items() if isinstance(node, Mapping) else ()
    return {name: value for name, value in items if isinstance(name, str)}


def _experiment(content: Mapping[str, Any]) -> tuple[Any, ...]:
    """(online_params, target_params, online_state, target_state, opt_state), or nothing."""
    state = content.get("experiment_state")
    fields = state.args if isinstance(state, Placeholder) else ()
    return fields if len(fields) == 5 else ()


def is_byol(content: Mapping[str, Any]) -> bool:
    """Whether a pickle holds BYOL's experiment."""
    fields = _experiment(content)
    return bool(fields) and has(_tree(fields[0]), "res_net")


# haiku counts from 0, torchvision from 1
_HAIKU_LAYERS = {
    "initial_conv": "conv1",
    "initial_batchnorm": "bn1",
    "shortcut_conv": "downsample.0",
    "shortcut_batchnorm": "downsample.1",
    **{f"conv_{i}": f"conv{i + 1}" for i in range(3)},
    **{f"batchnorm_{i}": f"bn{i + 1}" for i in range(3)},
}
_HAIKU_LEAVES = {
    "w": "weight",
    "scale": "weight",
    "offset": "bias",
    "mean_ema": "running_mean",
    "var_ema": "running_var",
}
_HAIKU_MODULE = re.compile(r"res_net\w*/~/(?:block_group_(\d)/~/block_(\d+)/~/)?(\w+)")


def _haiku_name(module: str) -> str:
    """A haiku module under torchvision's name; heads keep their own."""
    found = _HAIKU_MODULE.fullmatch(module)
    if found is None:
        return module
    group, block, layer = found.groups()
    stage = f"layer{int(group) + 1}.{block}." if group else ""
    return stage + _HAIKU_LAYERS.get(layer, layer)


def byol_state(content: Mapping[str, Any], path: Path) -> State:
    """The online network under torchvision's names; heads keep their own."""
    online, _, averages, _, _ = _experiment(content)
    state: State = {}
    for module, leaves in _tree(online).items():
        for leaf, value in _tree(leaves).items():
            state[f"{_haiku_name(module)}.{_HAIKU_LEAVES.get(leaf, leaf)}"] = _tensor(value, path)
    for module, leaves in _tree(averages).items():
        owner, _, kind = module.rpartition("/~/")
        value = _tree(leaves).get("average")
        state[f"{_haiku_name(owner)}.{_HAIKU_LEAVES.get(kind, kind)}"] = _tensor(value, path)
    return state


def _tensor(value: Any, path: Path) -> Tensor:
    """HWIO becomes OIHW; norms lose their dimensions of 1."""
    if not isinstance(value, Array) or value.value is None:
        raise UserError(f"{path} (BYOL) holds weights that are not plain arrays")
    tensor = torch.from_numpy(value.value.copy())
    if tensor.ndim == 4 and tensor.shape[:3] == (1, 1, 1):
        return tensor.flatten()
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor
