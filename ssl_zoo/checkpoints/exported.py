"""Reading the files that `ssl_zoo.export` writes."""

from __future__ import annotations

import json
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ssl_zoo.checkpoints import archives
from ssl_zoo.checkpoints.hints import Hints
from ssl_zoo.checkpoints.loaded import Loaded
from ssl_zoo.checkpoints.official import load_official
from ssl_zoo.checkpoints.ours import check_format
from ssl_zoo.checkpoints.source import KEY, sidecar
from ssl_zoo.checkpoints.weights import build_backbone, fill
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.extras import need
from ssl_zoo.types import UserError

_KEYS = {"format", "config", "preprocess", "num_features"}
# Kinds that come with an architecture; the others are programs.
_WEIGHTS = ("torchvision", "timm", "safetensors")


def description_beside(path: Path) -> dict[str, Any] | None:
    """The description beside a plain state dict; None if there is none.

    Raises:
        UserError: If another version of ssl_zoo wrote it.
    """
    file = sidecar(path)
    try:
        about = _parsed(file.read_text()) if file.is_file() else None
    except UnicodeDecodeError:
        return None  # not ours, like those without our keys
    return None if about is None else _checked(about, file)


def _described(text: str, path: Path) -> dict[str, Any]:
    """The description in an exported file.

    Raises:
        UserError: If it is something else, or from another version of ssl_zoo.
    """
    about = _parsed(text)
    if about is None:
        raise UserError(f"{path} holds no description by ssl_zoo.export")
    return _checked(about, path)


def _parsed(text: str) -> dict[str, Any] | None:
    """A text as a description of any format; None if it is something else."""
    try:
        about = json.loads(text)
    except ValueError:
        return None
    return about if isinstance(about, dict) and about.keys() >= _KEYS else None


def _checked(about: dict[str, Any], path: Path) -> dict[str, Any]:
    """A description of this format: kind, config or null, preprocess, num_features.

    Raises:
        UserError: If it has another format, or is damaged.
    """
    check_format(about["format"], path)
    try:
        Preprocess(**about["preprocess"])
        if isinstance(about["num_features"], int) and _fits(about["kind"], about["config"]):
            return about
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path} holds no description by ssl_zoo.export")


def _fits(kind: Any, config: Any) -> bool:
    """Whether a file that holds only weights comes with an architecture."""
    if kind in _WEIGHTS:
        return isinstance(config, dict) and "_target_" in config
    return kind in ("onnx", "torchscript")


def _loaded(
    path: Path, backbone: nn.Module, about: dict[str, Any], config: dict[str, Any] | None, what: str
) -> Loaded:
    preprocess = Preprocess(**about["preprocess"])
    report = f"{path} (our {about['kind']} export): {what}; images: {preprocess.image_size} pixels"
    return Loaded(backbone.eval(), preprocess, config, report)


def load_state_dict(weights: Any, about: dict[str, Any], path: Path) -> Loaded:
    """The backbone that a description and a plain state dict make.

    Raises:
        UserError: If the weights are not that backbone's.
    """
    if not isinstance(weights, dict) or not all(isinstance(n, str) for n in weights):
        raise UserError(f"{path} is not a plain state dict, as its {sidecar(path).name} says")
    backbone = build_backbone(about["config"])
    fill(backbone, weights, str(path))
    what = f"{len(weights)} weights loaded, none missing, nothing left over"
    return _loaded(path, backbone, about, about["config"], what)


def load_safetensors(path: Path, hints: Hints) -> Loaded:
    """The backbone in a safetensors file of ours, or of another library.

    Args:
        path: The file.
        hints: What a file of another library does not tell.

    Raises:
        UserError: If it is damaged, or its architecture is unknown.
    """
    weights, metadata = _read_safetensors(path)
    if KEY not in metadata:
        return load_official(weights, path, hints)
    hints.refuse(path, "an export of ssl_zoo")
    return load_state_dict(weights, _described(metadata[KEY], path), path)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and its metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        what = archives.taken_for_a_checkpoint(path) or "damaged or not a safetensors file"
        raise UserError(f"{path} is not a readable checkpoint: it is {what}") from error


class OnnxBackbone(nn.Module):
    """A backbone computed by onnxruntime on the CPU, without gradients.

    Args:
        session: An onnxruntime session.
        num_features: Width of the output.
    """

    def __init__(self, session: Any, num_features: int) -> None:
        super().__init__()
        self.session, self.num_features = session, num_features

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
    except Exception as error:  # onnxruntime has an exception class for each failure
        what = archives.taken_for_a_checkpoint(path) or "damaged or not an ONNX file"
        raise UserError(f"{path} is not a readable checkpoint: it is {what}") from error


def load_onnx(path: Path) -> Loaded:
    """The backbone in an ONNX file of ours.

    Raises:
        UserError: If onnxruntime is missing, or the file is damaged or lacks our description.
    """
    session = onnx_session(path)
    about = _described(session.get_modelmeta().custom_metadata_map.get(KEY, ""), path)
    backbone = OnnxBackbone(session, about["num_features"])
    return _loaded(path, backbone, about, None, "run by onnxruntime, not trainable")


def load_torchscript(path: Path) -> Loaded:
    """The backbone in a TorchScript archive of ours: a program, which is run.

    Raises:
        UserError: If it is damaged, or lacks our description.
    """
    about = _described(_torchscript_text(path), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated
        try:
            archives.check_sums(path)
            backbone: nn.Module = torch.jit.load(path, map_location="cpu")
        except (RuntimeError, ValueError, archives.NotReadableError) as error:
            raise UserError(f"{path} is not a readable checkpoint: it is damaged") from error
    backbone.num_features = about["num_features"]
    return _loaded(path, backbone, about, None, "a TorchScript program")


def _torchscript_text(path: Path) -> str:
    """The description in a TorchScript archive, read without running it; "" if there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [e for e in archive.infolist() if e.filename.endswith(f"/extra/{KEY}.json")]
            if not found or found[0].file_size > 2**20:
                return ""
            return archive.read(found[0]).decode()
    except (zipfile.BadZipFile, OSError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is not a readable checkpoint: it is damaged") from error
