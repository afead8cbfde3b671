"""Objects that other programs put beside their weights are data: kept inert, never called."""

from __future__ import annotations

import argparse
import array
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import itertools
import logging
import math
import operator
import os
import random
import re
import sys
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import TensorDataset

from helpers.layouts import features, install, resnet
from helpers.networks import randomised
from helpers.tiers import only
from ssl_zoo import load_backbone
from ssl_zoo.checkpoints.unpickle import Placeholder, read
from ssl_zoo.types import UserError


class EasyDict(dict[str, Any]):
    """As of the package easydict: a dict whose items are attributes too."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        super().__setitem__(name, value)


class CfgNode(dict[str, Any]):
    """As of yacs: a dict with a state."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.__dict__["__immutable__"] = False


@dataclasses.dataclass
class Settings:
    """As in a script of one's own."""

    lr: float = 0.1


class Mode(enum.Enum):
    TRAIN = "train"


Pair = collections.namedtuple("Pair", "a b")

# classes that cannot be imported once the file is read: module -> class
GONE = {
    "easydict": EasyDict,
    "yacs.config": CfgNode,
    "scripts.settings": Settings,
    "scripts.modes": Mode,
    "scripts.pairs": Pair,
}

OBJECTS: dict[str, Callable[[], Any]] = {
    "partial": lambda: functools.partial(nn.LayerNorm, eps=1e-6),
    "partial of a method of torch": lambda: functools.partial(nn.init.trunc_normal_, std=0.02),
    "dtype": lambda: argparse.Namespace(dtype=torch.float32, layout=torch.strided),
    "path": lambda: argparse.Namespace(root=Path("a/b"), other=[Path("c")]),
    "datetime": lambda: datetime.datetime(2026, 11, 26, tzinfo=datetime.timezone.utc),
    "timedelta": lambda: {"took": datetime.timedelta(hours=2), "day": datetime.date(2026, 1, 1)},
    "numpy scalars": lambda: {"best": np.float64(0.5), "epoch": np.int64(3), "ok": np.bool_(True)},
    "numpy types": lambda: argparse.Namespace(kind=np.float32, dtype=np.dtype("int8")),
    "numpy generators": lambda: [np.random.RandomState(0), np.random.default_rng(0)],
    "numpy texts": lambda: {
        "classes": np.array(["cat", "dog"]),
        "day": np.datetime64("2026-01-01"),
    },
    "python generator": lambda: [random.Random(0), random.getstate()],
    "decimal and uuid": lambda: [decimal.Decimal("0.1"), uuid.UUID(int=5)],
    "pattern": lambda: re.compile("a+"),
    "namespace": lambda: types.SimpleNamespace(lr=0.1, betas=(0.9, 0.95)),
    "collections": lambda: [collections.deque([1, 2]), collections.defaultdict(list, a=[1])],
    "logger": lambda: logging.getLogger("train"),
    "builtins": lambda: [frozenset({1}), slice(1, 2), complex(1, 2), range(3), bytearray(b"a")],
    "types": lambda: {"act": nn.GELU, "norm": nn.BatchNorm2d, "int": int},
    "omegaconf": lambda: OmegaConf.create({"a": {"b": [1, 2]}}),
    "a module": lambda: {"criterion": nn.CrossEntropyLoss(), "head": nn.Linear(2, 2)},
    "easydict": lambda: EasyDict(lr=0.1, model=EasyDict(depth=2)),
    "yacs": lambda: CfgNode({"SOLVER": CfgNode({"LR": 0.1})}),
    "dataclass": lambda: Settings(0.2),
    "enum": lambda: Mode.TRAIN,
    "namedtuple": lambda: Pair(1, 2),
    # names of Python, torch and numpy that only stand there, and objects that are not called
    "references": lambda: [np.mean, np.add, math.sqrt, zip, torch.relu, torch.save, os.getcwd],
    "a method": lambda: Settings(0.2).__repr__,
    "operators": lambda: [operator.itemgetter(1), operator.attrgetter("a"), itertools.repeat(2)],
    "type hints": lambda: [list[int], int | None],
    "torch's objects": lambda: [torch.amp.GradScaler("cpu"), TensorDataset(torch.ones(2))],
    "numpy's objects": lambda: [
        np.ma.masked_array([1, 2], [0, 1]),
        np.rec.array([(1, 2.0)]),
        np.array([Path("a"), "b"], dtype=object),
    ],
    "array": lambda: array.array("f", [1, 2]),
    "text file": lambda: io.StringIO("a"),
}
FIRST = ["partial", "dtype", "datetime", "easydict", "numpy texts", "references", "numpy's objects"]


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Classes under the modules of other packages, which a call takes away."""
    for name, thing in GONE.items():
        install(types.ModuleType(name), thing, monkeypatch)

    def forget() -> None:
        for name in GONE:
            monkeypatch.delitem(sys.modules, name)

    return forget


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("what", only(FIRST, OBJECTS))
def test_it_loads(what: str, zipped: bool, gone: Callable[[], None], tmp_path: Path) -> None:
    content = {"state_dict": resnet().state_dict(), "args": OBJECTS[what](), "epoch": 1}
    path = tmp_path / "file.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    gone()
    backbone, _ = load_backbone(path)
    assert torch.equal(features(backbone), features(resnet()))


def test_placeholders_are_inert_and_values_are_values(tmp_path: Path) -> None:
    args = argparse.Namespace(norm=functools.partial(nn.LayerNorm, eps=1e-6), dtype=torch.float16)
    torch.save({"args": args}, tmp_path / "file.pth")
    state = read(tmp_path / "file.pth")["args"].state
    assert isinstance(state["norm"], Placeholder)
    assert state["norm"].called == "functools.partial"
    assert state["dtype"] is torch.float16


class Runs:
    """Pickles as a call of a function of one's own package."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return touch, (self.path,)


def touch(path: str) -> None:
    Path(path).touch()


def test_a_function_of_any_package_is_not_called(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    content = {"state_dict": resnet().state_dict(), "x": Runs(marker)}
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"it names \S+\.touch, which is not called$"):
        load_backbone(tmp_path / "file.pth")
    assert not marker.exists()
    torch.load(tmp_path / "file.pth", weights_only=False)
    assert marker.exists(), "the call is none: the test shows nothing"


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("where", ["whole", "beside", "compiled", "listed", "deep"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_whole_model(where: str, zipped: bool, tmp_path: Path) -> None:
    network: Any = randomised(torchvision.models.squeezenet1_1())
    name = "torchvision.models.squeezenet.SqueezeNet"
    if where == "compiled":
        network, name = nn.Sequential(network), "torch.nn.modules.container.Sequential"
    content = {
        "beside": {"model": network, "epoch": 1},
        "listed": [network, 3],
        "deep": {"best": {"models": (network,)}},
    }.get(where, network)
    path = tmp_path / "model.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    said = (
        f"^{path} holds a whole model ({name}), whose code would have to run: save its weights, "
        "by torch.save(model.state_dict(), FILE)$"
    )
    with pytest.raises(UserError, match=said.replace("(", r"\(").replace(")", r"\)")):
        load_backbone(path)
