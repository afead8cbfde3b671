"""Nothing in a file runs: bombs are refused in one line, foreign objects stay inert."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import pickle
import pickletools
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.files import flip
from ssl_zoo import load_backbone
from ssl_zoo.backbones import torchvision_backbone
from ssl_zoo.checkpoints.unpickle import Array, Placeholder, read
from ssl_zoo.types import UserError

NETWORK = torchvision_backbone("resnet18", width=0.25)


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


def save_zip(content: Any, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def save_first_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=4))


SAVES = [save_zip, save_legacy, save_pickle, save_first_pickle]


def refused(path: Path, match: str) -> None:
    for load in (read, load_backbone):
        with pytest.raises(UserError, match=match) as error:
            load(path)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(f"{path} is not a readable checkpoint: ")


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "in a right layout"])
def test_a_bomb_does_not_go_off(
    save: Callable[[Any, Path], None], beside: bool, tmp_path: Path
) -> None:
    marker, path = tmp_path / "marker", tmp_path / "bomb.pth"
    bomb: Any = Call(os.system, f"touch {marker}")
    if beside:
        state = {f"module.encoder_q.{n}": v for n, v in NETWORK.state_dict().items()}
        state["module.encoder_k.conv1.weight"] = torch.ones(1)
        bomb = {"optimizer": bomb, "epoch": 1, "arch": "resnet18", "state_dict": state}
    save(bomb, path)
    refused(path, r"it names (posix|nt)\.system, which is not called$")
    assert not marker.exists()
    unsafe(path)
    assert marker.exists(), "the bomb is none: the test shows nothing"


def unsafe(path: Path) -> None:
    """What a plain load does."""
    try:
        torch.load(path, weights_only=False)
    except (RuntimeError, AssertionError, pickle.UnpicklingError):
        pickle.loads(path.read_bytes())


@pytest.mark.parametrize(
    ("function", "args", "name"),
    [
        (eval, ("1",), r"__builtin__.eval|builtins.eval"),
        (exec, ("1",), r"__builtin__.exec|builtins.exec"),
        (__import__, ("os",), r"__builtin__.__import__|builtins.__import__"),
        (open, ("/dev/null",), "io.open"),
        (subprocess.Popen, (["true"],), "subprocess.Popen|commands.Popen"),
        (torch.hub.load, ("a/b", "c"), "torch.hub.load"),
        (torch.load, ("x",), "torch.serialization.load"),
        (np.load, ("x",), r"numpy\S*\.load"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_refused_by_name(
    function: Callable[..., Any], args: tuple[Any, ...], name: str, tmp_path: Path
) -> None:
    for save in SAVES:
        save({"state_dict": {}, "x": Call(function, *args)}, tmp_path / "file.pth")
        refused(tmp_path / "file.pth", f"it names ({name}), which is not called$")


def test_a_dotted_name_within_a_foreign_package_is_not_followed(tmp_path: Path) -> None:
    """Protocol 4 looks names up attribute by attribute: jax.os.system would be a way in."""
    marker, path = tmp_path / "marker", tmp_path / "bomb.pkl"
    call = f"touch {marker}".encode()
    name = b"\x8c\x09omegaconf\x8c\x09os.system\x93"  # two short strings, STACK_GLOBAL
    path.write_bytes(b"\x80\x04" + name + b"\x8c" + bytes([len(call)]) + call + b"\x85R.")
    pickletools.dis(path.read_bytes(), out=io.StringIO())
    assert isinstance(read(path), Placeholder)
    assert not marker.exists()


def test_what_is_looked_up_is_not_called(tmp_path: Path) -> None:
    """getattr(shutil.os, "system")(...), where getattr is inert and shutil.os a name."""
    marker, path = tmp_path / "marker", tmp_path / "bomb.pkl"
    call = f"touch {marker}".encode()
    looked_up = b"cbuiltins\ngetattr\ncshutil\nos\nX\x06\x00\x00\x00system\x86R"
    path.write_bytes(
        b"\x80\x02" + looked_up + b"X" + len(call).to_bytes(4, "little") + call + b"\x85R."
    )
    refused(path, r"it calls what builtins\.getattr returns$")
    assert not marker.exists()
    unsafe(path)
    assert marker.exists(), "the bomb is none: the test shows nothing"


def test_storages_within_are_data_too(tmp_path: Path) -> None:
    """pickle, without torch.save, writes a tensor as a file of torch: it may hold a bomb."""
    marker, path = tmp_path / "marker", tmp_path / "bomb.pkl"
    inner = tmp_path / "inner.pth"
    save_legacy(Call(os.system, f"touch {marker}"), inner)
    save_pickle(Call(torch.storage._load_from_bytes, inner.read_bytes()), path)
    refused(path, "it is damaged or cut short$")
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists(), "the bomb is none: the test shows nothing"


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("kind", ["tensors", "arrays"])
def test_weights_without_torch_save(kind: str, protocol: int, tmp_path: Path) -> None:
    state = {n: v.numpy() if kind == "arrays" else v for n, v in NETWORK.state_dict().items()}
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"model": state}, protocol=protocol))
    weights = load_backbone(path)[0].state_dict()
    assert all(torch.equal(weights[name], v) for name, v in NETWORK.state_dict().items())


def test_a_function_keeps_its_attributes(tmp_path: Path) -> None:
    """BUILD sets attributes: on a function of torch they would outlive the loading."""
    path = tmp_path / "build.pkl"
    path.write_bytes(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.")
    refused(path, "it sets attributes of a function")
    assert not hasattr(torch._utils._rebuild_tensor_v2, "a")


@pytest.mark.parametrize("save", SAVES[:3])
def test_foreign_objects_stay_inert(save: Callable[[Any, Path], None], tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    args = argparse.Namespace(arch="vit_small", path=Path("a/b"))
    save({"args": args, "array": array, "list": [1, {2}], "size": torch.Size([3])}, tmp_path / "f")
    content = read(tmp_path / "f")
    assert isinstance(content["args"], Placeholder)
    assert content["args"].state["arch"] == "vit_small"
    assert isinstance(content["args"].state["path"], Placeholder)
    assert isinstance(content["array"], Array)
    np.testing.assert_array_equal(content["array"].value, array)
    assert content["list"] == [1, {2}]
    assert content["size"] == torch.Size([3])


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_tensors_beside_foreign_objects(save: Callable[[Any, Path], None], tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "view": base[1:, ::2],
        "parameter": torch.nn.Parameter(base),
        "half": base.half(),
        "bool": base > 3,
    }
    save({"args": argparse.Namespace(), **tensors}, tmp_path / "f")
    content = read(tmp_path / "f")
    for name, tensor in tensors.items():
        assert content[name].dtype == tensor.dtype
        assert torch.equal(content[name], tensor)


def test_an_array_of_objects(tmp_path: Path) -> None:
    save_pickle({"x": np.array([Call(os.system, "true")])}, tmp_path / "f")
    refused(tmp_path / "f", r"it names (posix|nt)\.system")
    save_pickle({"x": np.array([1, "a"], dtype=object)}, tmp_path / "f")
    assert read(tmp_path / "f")["x"].value is None


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("save", SAVES)
def test_a_file_cut_short(save: Callable[[Any, Path], None], kept: float, tmp_path: Path) -> None:
    path = tmp_path / "short.pth"
    tensors = {f"layer1.{i}.conv1.weight": torch.rand(50, 50).tolist() for i in range(3)}
    save({"state_dict": tensors, "args": argparse.Namespace()}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    refused(path, "it is damaged or cut short$")


@pytest.mark.parametrize("beside", [{}, {"args": argparse.Namespace()}], ids=["plain", "foreign"])
def test_a_flipped_bit(beside: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "flipped.pth"
    torch.save({"state_dict": NETWORK.state_dict(), **beside}, path)
    load_backbone(path)
    flip(path, "/data/0")
    refused(path, "it is damaged: checksum mismatch$")


def test_an_archive_without_checksums_loads(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(NETWORK.state_dict(), tmp_path / "file.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    load_backbone(tmp_path / "file.pth")


def test_a_name_does_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(b"\x80\x04\x8c\x04\x0a\x1b[2\x8c\x01a\x93.")
    refused(path, r"it names \\n\\x1b\[2\.a, which is not called$")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty$"),
        (b"<html>404</html>", "neither a PyTorch file nor a pickle$"),
        (b"cos\nsystem\n(S'true'\ntR.", "neither a PyTorch file nor a pickle$"),
        (b"\x00" * 100, "neither a PyTorch file nor a pickle$"),
        (b"\n<?xml version='1.0'?>", r"it is a web page or XML \(the download failed"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"a git-lfs pointer \(fetch"),
        (gzip.compress(b"\x80\x02}."), r"compressed by gzip \(unpack it\)"),
        (bytes(257) + b"ustar", r"a tar archive \(unpack it"),
        (b'{"weight_map": {}}', r"JSON \(give the file that holds the weights\)"),
        (b"\x80\x02]" + b"]" * 100000 + b"a" * 100000 + b".", "not a readable checkpoint|unknown"),
    ],
    ids=["empty", "text", "protocol 0", "zeros", "xml", "lfs", "gzip", "tar", "json", "nested"],
)
def test_other_files(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        load_backbone(tmp_path / "file.pth")
    assert "\n" not in str(error.value)


def test_other_archives(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    refused(path.with_suffix(".npz"), "it is a zip archive but not a PyTorch file")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data/0", b"\x00" * 10_000_000)
    assert path.stat().st_size < 20_000
    refused(path, "it unpacks to more than it holds")


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_a_program_is_not_run(tmp_path: Path) -> None:
    layer, path = torch.nn.Linear(2, 2), tmp_path / "program.pt"
    torch.jit.trace(layer, torch.ones(1, 2)).save(str(path))
    refused(path, r"it is a TorchScript archive, whose code would run: save its weights")
    torch.export.save(torch.export.export(layer, (torch.ones(1, 2),)), path)
    refused(path, r"it is a program of torch\.export: save its weights")
