"""BYOL's files: haiku's trees, and padding as JAX does it."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.layouts import State, features, install, resnet
from ssl_zoo.checkpoints import load_pretrained


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """lax.padtype_to_pads("SAME"), one side at a time."""
    for dim in (3, 2):
        size = x.shape[dim]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before = [0, 0] * (3 - dim) + [total // 2, total - total // 2]
        x = F.pad(x, before)
    return x


def byol_features(state: State, x: Tensor) -> Tensor:
    """The forward pass of networks.py and haiku's BlockV1, in functions."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(pad_same(x, weight.shape[-1], stride), weight, stride=stride)

    x = F.relu(norm(conv(x, "conv1", 2), "bn1"))
    x = F.max_pool2d(pad_same(x, 3, 2), 3, 2)
    for group, blocks in enumerate((3, 4, 6, 3), start=1):
        for i in range(blocks):
            name, stride = f"layer{group}.{i}", 2 if group > 1 and i == 0 else 1
            shortcut = x
            if i == 0:
                shortcut = conv(x, f"{name}.downsample.0", stride)
                shortcut = norm(shortcut, f"{name}.downsample.1")
            x = F.relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            x = F.relu(norm(conv(x, f"{name}.conv2", stride), f"{name}.bn2"))
            x = F.relu(norm(conv(x, f"{name}.conv3"), f"{name}.bn3") + shortcut)
    return x.mean(dim=(2, 3))


def haiku_trees(state: State) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and state under haiku's names, in its shapes."""
    params: dict[str, Any] = {"projector/linear": {"w": np.ones((3, 4), np.float32)}}
    averages: dict[str, Any] = {}
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        layer = module.split(".")
        where = "res_net50/~/"
        if layer[0].startswith("layer"):
            where += f"block_group_{int(layer[0][-1]) - 1}/~/block_{layer[1]}/~/"
        last, number = layer[-1], layer[-1][-1]
        if "downsample" in module:
            where += "shortcut_conv" if last == "0" else "shortcut_batchnorm"
        elif len(layer) == 1:
            where += "initial_conv" if last.startswith("conv") else "initial_batchnorm"
        else:
            where += ("conv_" if last.startswith("conv") else "batchnorm_") + str(int(number) - 1)
        array = value.numpy()
        if array.ndim == 4:
            params[where] = {"w": np.ascontiguousarray(array.transpose(2, 3, 1, 0))}
        elif leaf in ("weight", "bias"):
            key = "scale" if leaf == "weight" else "offset"
            params.setdefault(where, {})[key] = array.reshape(1, 1, 1, -1)
        elif leaf.startswith("running"):
            kind = "mean_ema" if leaf == "running_mean" else "var_ema"
            mean = array.reshape(1, 1, 1, -1)
            averages[f"{where}/~/{kind}"] = {
                "counter": np.int32(3),
                "hidden": mean * 0,
                "average": mean,
            }
    return params, averages


@pytest.fixture
def byol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file as checkpointing.py wrote it: protocol 2, haiku's mappings, the repository's tuple."""
    haiku, experiment = (
        types.ModuleType("haiku._src.data_structures"),
        types.ModuleType("byol.byol_experiment"),
    )

    class FlatMapping:
        def __init__(self, mapping: Any) -> None:
            self.mapping = mapping

        def __reduce__(self) -> tuple[Any, tuple[Any]]:
            return FlatMapping, (self.mapping,)

    class _ByolExperimentState(NamedTuple):
        online_params: Any
        target_params: Any
        online_state: Any
        target_state: Any
        opt_state: Any

    class TraceState(NamedTuple):
        trace: Any

    optax = types.ModuleType("optax._src.transform")
    install(optax, TraceState, monkeypatch)
    install(haiku, FlatMapping, monkeypatch)
    install(experiment, _ByolExperimentState, monkeypatch)

    params, averages = haiku_trees(resnet("thin50").state_dict())
    other = {name: {k: v * 0 for k, v in leaves.items()} for name, leaves in params.items()}

    def flat(tree: dict[str, Any]) -> FlatMapping:
        return FlatMapping({name: FlatMapping(leaves) for name, leaves in tree.items()})

    optimizer = (TraceState(flat(other)),)
    state = _ByolExperimentState(flat(params), flat(other), flat(averages), flat({}), optimizer)
    path = tmp_path / "pretrain_res50x1.pkl"
    rng = np.zeros(2, np.uint32)
    path.write_bytes(pickle.dumps({"experiment_state": state, "step": 9, "rng": rng}, protocol=2))
    for name in ("haiku._src.data_structures", "byol.byol_experiment", optax.__name__):
        monkeypatch.delitem(sys.modules, name)
    return path


def test_byol(byol: Path) -> None:
    loaded = load_pretrained(byol)
    state = resnet("thin50").state_dict()
    for side in (64, 75):
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        expected = byol_features(state, images)
        scale = expected.abs().max()
        found = features(loaded.backbone, images) / scale
        torch.testing.assert_close(found, expected / scale, atol=1e-6, rtol=1e-5)
        torchs = features(resnet("thin50"), images) / scale
        assert not torch.allclose(torchs, expected / scale, atol=1e-3)
    assert "(BYOL): resnet50" in loaded.report
    assert "projector/linear 1" in loaded.report
