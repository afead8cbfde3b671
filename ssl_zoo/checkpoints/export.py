"""Exporting a backbone: `python -m ssl_zoo.export RUN --format torchvision|timm|... OUT`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch
import yaml
from safetensors.torch import save as to_safetensors
from torch import nn

from ssl_zoo.backbones.positions import at_size, fitted
from ssl_zoo.backbones.spec import library_name, library_options
from ssl_zoo.checkpoints.hints import Hints
from ssl_zoo.checkpoints.load import load_pretrained, read
from ssl_zoo.checkpoints.loaded import Loaded
from ssl_zoo.checkpoints.ours import FORMAT
from ssl_zoo.checkpoints.preparation import PREPARATION, prepare
from ssl_zoo.checkpoints.source import KEY, sidecar, source_files
from ssl_zoo.checkpoints.weights import build_backbone
from ssl_zoo.config import trusting
from ssl_zoo.console import quiet_lightning
from ssl_zoo.extras import need
from ssl_zoo.sealing import check_sealed
from ssl_zoo.types import UserError

FORMATS = ("torchvision", "timm", "safetensors", "onnx", "torchscript")
_MAX_ONNX = 2**31 - 2**20  # protobuf's limit, less what the graph takes
TOLERANCE = 1e-4  # of features, relative, between the backbone and what was read back
_EXAMPLE = """example:
  python -m ssl_zoo.export runs/RUN --format torchvision resnet18.pth
  python -m ssl_zoo.export timm:vit_small_patch16_224.dino --format onnx vit.onnx
  python -m ssl_zoo.export runs/RUN --format onnx mine.onnx trust=[mypackage]
      (where the run's config calls parts of your own package)
  python -m ssl_zoo.export runs/RUN --format onnx mine.onnx dataset.image_size=96
      (also dataset.crop_fraction, mean, std: in the place of the run's own preprocessing)
  python -m ssl_zoo.export dino.pth --format onnx dino.onnx ckpt_prefix=student ckpt_heads=6
      (where another repository's file does not tell: docs/checkpoints.md)"""


def export(
    source: str | Path,
    format: str,
    out: Path,
    force: bool = False,
    given: Mapping[str, Any] = MappingProxyType({}),
    hints: Hints | None = None,
) -> float:
    """Write a backbone in another library's format, read it back and compare.

    A ViT that sees another image size than its positions are for is written with positions for
    that size.

    Args:
        source: As in `load_pretrained`.
        format: One of FORMATS.
        out: The file; torchvision and timm get OUT.json beside it.
        force: Overwrite.
        given: Arguments of `Preprocess` that replace the backbone's own preprocessing.
        hints: What a source of another repository does not tell.

    Returns:
        The largest difference between the features of both on random images, relative to the
        largest feature (to 1, if all are smaller).

    Raises:
        UserError: If the file exists or is the source, the format does not fit the backbone, or
            the features differ by more than TOLERANCE; then all files are as they were.
    """
    _check_out(source, out, format, force)
    loaded = load_pretrained(source, hints=hints)
    if loaded.config is None:
        raise UserError(f"{source} is a program without an architecture: export its source instead")
    if format == "onnx":
        _check_onnx_size(loaded.backbone, source)
    prepared = prepare(loaded.backbone, loaded.preprocess, given)
    loaded = _at_its_size(loaded._replace(preprocess=prepared.preprocess), loaded.config)
    about: dict[str, Any] = {
        "format": FORMAT,
        "kind": format,
        "config": loaded.config,
        "preprocess": loaded.preprocess.options(),
        "num_features": loaded.backbone.num_features,
    }
    if format in ("torchvision", "timm"):
        about["name"] = library_name(loaded.config or {}, format)
    # a folder beside it, so that the new files replace the old ones in one step
    with TemporaryDirectory(prefix=".export-", dir=out.parent) as folder:
        new = Path(folder) / out.name
        _write(loaded, about, new)
        difference = _difference(loaded, new)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{out} would give different features, by {difference:.1e} (relative): not written"
            )
        for written, final in zip(_files(new, format), _files(out, format), strict=True):
            os.replace(written, final)
    print(f"{out}: largest relative difference of the features {difference:.1e}")
    print(f"images: {prepared.preprocess.extra_repr()}; {prepared.origin}")
    print(usage(about, out))
    return difference


def _at_its_size(loaded: Loaded, config: dict[str, Any]) -> Loaded:
    """The same backbone, a ViT with the positions of the image size that it sees."""
    config = at_size(config, loaded.backbone, loaded.preprocess.image_size)
    if config == loaded.config:
        return loaded
    backbone = build_backbone(config)
    backbone.load_state_dict(fitted(loaded.backbone.state_dict(), backbone))
    return loaded._replace(config=config, backbone=backbone.eval())


def _check_onnx_size(backbone: nn.Module, source: str | Path) -> None:
    """Refuse weights that one ONNX file cannot hold, before anything is computed.

    Raises:
        UserError: Naming the formats that can.
    """
    size = sum(value.numel() * value.element_size() for value in backbone.state_dict().values())
    if size >= _MAX_ONNX:
        raise UserError(
            f"{source} has {size / 2**30:.1f} GB of weights, and an ONNX file holds less than 2 "
            "GB: use --format safetensors or torchscript"
        )


def _check_out(source: str | Path, out: Path, format: str, force: bool) -> None:
    if format not in FORMATS:
        raise UserError(f"--format {format} is unknown: use one of {', '.join(FORMATS)}")
    suffix = {"safetensors": ".safetensors", "onnx": ".onnx"}.get(format)
    if suffix and out.suffix != suffix:
        raise UserError(f"{out}: a file of --format {format} must end in {suffix}")
    if not suffix and out.suffix in (".safetensors", ".onnx"):
        raise UserError(f"{out}: this suffix is for --format {out.suffix[1:]}")
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"{out} is not a file in an existing folder")
    check_sealed(Path(source))
    sources = source_files(source)
    for file in filter(Path.exists, _files(out, format)):
        if any(map(file.samefile, sources)):
            raise UserError(f"{file} is a file of the source {source}: give another OUT")
        if not force:
            raise UserError(f"{file} exists: add --force to overwrite it")


def _files(out: Path, format: str) -> list[Path]:
    return [out, sidecar(out)] if format in ("torchvision", "timm") else [out]


def _write(loaded: Loaded, about: dict[str, Any], out: Path) -> None:
    text = json.dumps(about, indent=1)
    backbone = loaded.backbone
    weights = {name: value.contiguous() for name, value in backbone.state_dict().items()}
    if about["kind"] == "safetensors":
        # its save_file would leave a file that only its owner can read
        out.write_bytes(to_safetensors(weights, metadata={"format": "pt", KEY: text}))
    elif about["kind"] == "onnx":
        _write_onnx(loaded, text, out)
    elif about["kind"] == "torchscript":
        _write_torchscript(loaded, text, out)
    else:
        torch.save(weights, out)
        sidecar(out).write_text(text)


def _images(loaded: Loaded, count: int) -> torch.Tensor:
    """Random images as the backbone expects them."""
    side = loaded.preprocess.image_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    prepared: torch.Tensor = loaded.preprocess(images)
    return prepared


def _of_one_size(loaded: Loaded) -> nn.Module:
    """The backbone without what interpolates a ViT's positions: a program has one image size."""
    if not getattr(loaded.backbone, "dynamic_img_size", False) or loaded.config is None:
        return loaded.backbone
    backbone = build_backbone(loaded.config | {"dynamic_img_size": False})
    backbone.load_state_dict(loaded.backbone.state_dict())
    return backbone.eval()


def _write_torchscript(loaded: Loaded, text: str, out: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated, and what tracing fixes
        program = torch.jit.trace(_of_one_size(loaded), _images(loaded, 2))
        program.save(str(out), _extra_files={f"{KEY}.json": text})


def _write_onnx(loaded: Loaded, text: str, out: Path) -> None:
    need("--format onnx", "onnx", "onnxruntime", "onnxscript")
    import onnx

    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _of_one_size(loaded),
            (_images(loaded, 2),),
            str(out),
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
    model = onnx.load(str(out))
    onnx.helper.set_model_props(model, {KEY: text})
    onnx.save(model, str(out))


@torch.inference_mode()
def _difference(loaded: Loaded, out: Path) -> float:
    """The largest relative difference of features, on a batch of another size than in tracing."""
    images = _images(loaded, 3)
    features = loaded.backbone(images)
    largest = (read(out).backbone(images) - features).abs().max()
    return float(largest / features.abs().max().clamp(min=1))


def usage(about: dict[str, Any], out: Path) -> str:
    """Two lines that load the file in its own library."""
    options = "".join(f", {k}={v!r}" for k, v in library_options(about["config"]).items())
    name, path = about.get("name"), str(out)
    return {
        "torchvision": (
            f"model = torchvision.models.get_model({name!r}{options})\n"
            f"model.load_state_dict(torch.load({path!r}), strict=False)  # without its classifier"
        ),
        "timm": (
            f"model = timm.create_model({name!r}, num_classes=0{options},\n"
            f"                          checkpoint_path={path!r})"
        ),
        "safetensors": (
            f"backbone, preprocess = ssl_zoo.load_backbone({path!r})\n"
            f"weights = safetensors.torch.load_file({path!r})  # or only the weights"
        ),
        "onnx": (
            f"session = onnxruntime.InferenceSession({path!r})\n"
            "(features,) = session.run(None, {'images': images})"
        ),
        "torchscript": f"backbone = torch.jit.load({path!r})\nfeatures = backbone(images)",
    }[about["kind"]]


_KNOBS = ("trust", *Hints._fields)


def _split_off_knobs(args: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """`trust=[A,B]`, `ckpt_heads=6` and so on, as train.py and evaluate.py take them; all else."""
    knobs = {}
    others = []
    for arg in args:
        key, equals, value = arg.partition("=")
        if equals and key in _KNOBS:
            knobs[key] = value
        else:
            others.append(arg)
    return knobs, others


def _hints(knobs: Mapping[str, str]) -> Hints:
    """The hints among the knobs.

    Raises:
        UserError: If the number of heads is not a whole number.
    """
    heads = knobs.get("ckpt_heads", "")
    if heads and not heads.isdecimal():
        raise UserError(f"ckpt_heads={heads}: give a whole number")
    return Hints(knobs.get("ckpt_prefix"), int(heads) if heads else None, knobs.get("ckpt_layout"))


def _split_off_given(args: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What `dataset.image_size=96` and the like replace, as evaluate.py takes it, and all else."""
    names = {f"dataset.{name}": name for name in (*PREPARATION, "white")}
    parts = [(arg, *arg.partition("=")[::2]) for arg in args]
    given = {names[key]: yaml.safe_load(value) for _, key, value in parts if key in names}
    return given, [arg for arg, key, _ in parts if key not in names]


def main(args: Sequence[str] | None = None) -> None:
    """The command line; bad input gives one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_zoo.export",
        description="Write a backbone for another library, read it back and compare features.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="RUN", help="a run folder, a file, torchvision:NAME ...")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("out", metavar="OUT", type=Path, help="the file to write")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    knobs, others = _split_off_knobs(sys.argv[1:] if args is None else args)
    given, others = _split_off_given(others)
    options = parser.parse_args(others)
    quiet_lightning()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ssl_zoo").setLevel(logging.INFO)  # what was loaded
    try:
        trust = [package.strip() for package in knobs.get("trust", "").strip("[]").split(",")]
        with trusting([package for package in trust if package]):
            export(options.source, options.format, options.out, options.force, given, _hints(knobs))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
