"""Exports have a format, and one of another version is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.networks import randomised
from helpers.tiers import every
from ssl_zoo import load_backbone
from ssl_zoo.backbones import torchvision_backbone
from ssl_zoo.checkpoints import FORMAT
from ssl_zoo.checkpoints.export import export
from ssl_zoo.types import UserError

FILE = {"timm": "out.pth", "safetensors": "out.safetensors"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    torch.save(randomised(torchvision_backbone("resnet18")).state_dict(), folder / "in.pth")
    for format, name in FILE.items():
        export(folder / "in.pth", format, folder / name)
    return folder


def rewritten(
    exported: Path, out: Path, kind: str, change: Callable[[dict[str, Any]], None]
) -> Path:
    """The export with another description; the file that holds it."""
    source, path = exported / FILE[kind], out / FILE[kind]
    beside = source.with_name("out.pth.json")
    about = json.loads(beside.read_text()) | {"kind": kind}
    change(about)
    if kind == "timm":
        path.write_bytes(source.read_bytes())
        path = path.with_name(beside.name)
        path.write_text(json.dumps(about))
        return path
    save_file(load_file(source), path, metadata={"ssl_zoo": json.dumps(about)})
    return path


def refused(out: Path, kind: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        load_backbone(out / FILE[kind])
    assert "\n" not in str(error.value)


def as_before(about: dict[str, Any]) -> None:
    """Until format 1, `format` was what is now `kind`."""
    about["format"] = about.pop("kind")


def as_newer(about: dict[str, Any]) -> None:
    about |= {"format": FORMAT + 1, "preprocess": {"a knob": "of later"}}


@pytest.mark.parametrize("kind", every(2, FILE))
def test_an_export_of_another_version(kind: str, exported: Path, tmp_path: Path) -> None:
    path = rewritten(exported, tmp_path, kind, lambda about: None)
    assert load_backbone(tmp_path / FILE[kind])[0].num_features == 512
    rewritten(exported, tmp_path, kind, as_before)
    refused(tmp_path, kind, f"^{path} is from before format 1 of 2026-11 and cannot be read by")
    rewritten(exported, tmp_path, kind, as_newer)
    refused(tmp_path, kind, f"^{path} has format {FORMAT + 1}, which a newer version of ssl_zoo")


@pytest.mark.parametrize("kind", FILE)
@pytest.mark.parametrize(
    "change",
    [
        {"kind": "gguf"},
        {"config": None},
        {"config": {"name": "resnet18"}},
        {"num_features": "512"},
        {"preprocess": {"size": 3}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_damaged_description(
    kind: str, change: dict[str, Any], exported: Path, tmp_path: Path
) -> None:
    path = rewritten(exported, tmp_path, kind, lambda about: about.update(change))
    refused(tmp_path, kind, f"^{path} holds no description by ssl_zoo.export$")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_programs_are_not_exported_again(format: str, exported: Path, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    program = tmp_path / f"a.{'onnx' if format == 'onnx' else 'pt'}"
    export(exported / "in.pth", format, program)
    for again in ("torchvision", "safetensors"):
        out = tmp_path / f"out.{'safetensors' if again == 'safetensors' else 'pth'}"
        with pytest.raises(UserError, match="is a program without an architecture: export its"):
            export(program, again, out)
