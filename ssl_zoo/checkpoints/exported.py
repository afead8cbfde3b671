"""Reading back the files that `ssl_zoo.export` writes."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ssl_zoo.checkpoints import unpickle
from ssl_zoo.checkpoints.weights import Pretrained, build_backbone, fill
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.extras import need
from ssl_zoo.types import UserError

KEY = "ssl_zoo"  # of the description, wherever the format has room for one


def sidecar(path: Path) -> Path:
    """Where the description of a plain state dict lies."""
    return path.with_name(f"{path.name}.json")


def load_exported(path: Path) -> Pretrained | None:
    """The backbone in an exported file; None for a file that export did not write.

    Raises:
        UserError: If it is damaged, or is ONNX without our description.
    """
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if unpickle.is_zip(path) and (text := _torchscript_text(path)):
        return _torchscript(path, _described(text, path))
    if sidecar(path).is_file():
        try:
            about = _described(sidecar(path).read_text(), sidecar(path))
        except (UserError, UnicodeDecodeError):
            return None  # somebody else's
        return _weights(path, unpickle.read(path), about)
    return None


def _described(text: str, path: Path) -> dict[str, Any]:
    """The description: format, config or null, preprocess, num_features.

    Raises:
        UserError: If it is none.
    """
    try:
        about = dict(json.loads(text))
        Preprocess(**about["preprocess"])
        if isinstance(about["num_features"], int) and _fits(about["format"], about["config"]):
            return about
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path} holds no description by ssl_zoo.export")


def _fits(format: Any, config: Any) -> bool:
    """Whether a format that holds weights alone comes with an architecture."""
    if format in ("torchvision", "timm", "safetensors"):
        return isinstance(config, dict) and "_target_" in config
    return format in ("onnx", "torchscript")


def _pretrained(
    path: Path, backbone: nn.Module, about: dict[str, Any], config: dict[str, Any] | None, what: str
) -> Pretrained:
    preprocess = Preprocess(**about["preprocess"])
    report = (
        f"{path} (our {about['format']} export): {what}; images: {preprocess.image_size} pixels"
    )
    return Pretrained(backbone.eval(), preprocess, config, report)


def _weights(path: Path, weights: Any, about: dict[str, Any]) -> Pretrained:
    if not isinstance(weights, dict) or not all(isinstance(n, str) for n in weights):
        raise UserError(f"{path} is no plain state dict, as its {sidecar(path).name} says")
    backbone = build_backbone(about["config"])
    fill(backbone, weights, str(path))
    what = f"{len(weights)} weights loaded, none missing, nothing left over"
    return _pretrained(path, backbone, about, about["config"], what)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and its metadata.

    Raises:
        UserError: If it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a readable checkpoint: it is damaged or no safetensors file"
        ) from error


def _safetensors(path: Path) -> Pretrained | None:
    weights, metadata = read_safetensors(path)
    if KEY not in metadata:
        return None  # another library's
    return _weights(path, weights, _described(metadata[KEY], path))


class OnnxBackbone(nn.Module):
    """A backbone that onnxruntime computes, on the CPU; without gradients.

    Args:
        path: The .onnx file.
        num_features: Width of what comes out.

    Raises:
        UserError: If onnxruntime is missing or cannot read the file.
    """

    def __init__(self, path: Path, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.session = onnx_session(path)

    def forward(self, images: Tensor) -> Tensor:
        (name,) = (input.name for input in self.session.get_inputs())
        array = images.detach().float().cpu().contiguous().numpy()
        (features,) = self.session.run(None, {name: array})
        return torch.from_numpy(features).to(images.device)


def onnx_session(path: Path) -> Any:
    """An onnxruntime session with as many threads as torch has.

    Raises:
        UserError: If onnxruntime is missing or cannot read the file.
    """
    need(str(path), "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each way to fail
        raise UserError(
            f"{path} is not a readable checkpoint: it is damaged or no ONNX file"
        ) from error


def _onnx(path: Path) -> Pretrained:
    metadata = onnx_session(path).get_modelmeta().custom_metadata_map
    about = _described(metadata.get(KEY, ""), path)
    backbone = OnnxBackbone(path, about["num_features"])
    return _pretrained(path, backbone, about, None, "run by onnxruntime, not trainable")


def _torchscript_text(path: Path) -> str | None:
    """The description in a TorchScript archive of ours, read without running it."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [e for e in archive.infolist() if e.filename.endswith(f"/extra/{KEY}.json")]
            if not found or found[0].file_size > 2**20:
                return None
            return archive.read(found[0]).decode()
    except (zipfile.BadZipFile, OSError, ValueError):
        return None  # what is wrong with it is said where files are read


def _torchscript(path: Path, about: dict[str, Any]) -> Pretrained:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is old
        try:
            unpickle.check_sums(path)
            backbone: nn.Module = torch.jit.load(path, map_location="cpu")
        except (RuntimeError, ValueError, unpickle.NotReadableError) as error:
            raise UserError(f"{path} is not a readable checkpoint: it is damaged") from error
    backbone.num_features = about["num_features"]
    return _pretrained(path, backbone, about, None, "a TorchScript program")
