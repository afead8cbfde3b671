"""InstDisc's files: a pickled module of a class that is not here."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers.layouts import cifar_resnet, features, install, load, prefixed, resnet, some, training
from ssl_zoo.checkpoints import load_pretrained


@pytest.fixture
def lemniscate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The repository's bank, as torch 0.4 pickled it, from modules that are gone afterwards."""
    average, alias = types.ModuleType("lib.NCEAverage"), types.ModuleType("lib.alias_multinomial")
    backends = types.ModuleType("torch.nn.backends.thnn")

    class AliasMethod:
        def __init__(self) -> None:
            self.prob, self.alias = torch.ones(5), torch.zeros(5, dtype=torch.long)

    class NCEAverage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.multinomial = AliasMethod()
            self.register_buffer("memory", torch.rand(5, 3))
            self._backend = Backend()

    class Backend:
        def __reduce__(self) -> tuple[Any, tuple[()]]:
            return _get_thnn_function_backend, ()

    def _get_thnn_function_backend() -> Any:
        return None

    install(average, NCEAverage, monkeypatch)
    install(alias, AliasMethod, monkeypatch)
    install(backends, _get_thnn_function_backend, monkeypatch)
    return NCEAverage()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [False, True])
def test_instdisc(
    lemniscate: Any, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = prefixed(resnet(), "module.") | some("module.fc.weight", "module.fc.bias")
    content = training(state, lemniscate=lemniscate, best_prec1=0.4)
    path = tmp_path / "lemniscate.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    for name in ("lib.NCEAverage", "lib.alias_multinomial", "torch.nn.backends.thnn"):
        monkeypatch.delitem(sys.modules, name)
    loaded = load_pretrained(path)
    torch.testing.assert_close(features(loaded.backbone), features(resnet()), atol=1e-6, rtol=0)
    assert "(InstDisc)" in loaded.report
    assert "lemniscate" in loaded.report


def test_instdisc_on_cifar(tmp_path: Path) -> None:
    state = {
        name.replace("downsample", "shortcut"): value
        for name, value in prefixed(cifar_resnet(), "module.").items()
    }
    content = {"net": state | some("module.linear.weight"), "lemniscate": {}, "acc": 0.8}
    loaded = load(content, tmp_path)
    torch.testing.assert_close(features(loaded.backbone), features(cifar_resnet()))
    assert loaded.preprocess.image_size == 32
