"""The rows of an evaluation: the checkpoints, and the floors that they are compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ssl_zoo.checkpoints import Source, build_backbone
from ssl_zoo.checkpoints.exported import OnnxBackbone
from ssl_zoo.checkpoints.preparation import Preparation
from ssl_zoo.console import info
from ssl_zoo.data import DataModule
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.evaluation.features import Features
from ssl_zoo.hardware import default_device
from ssl_zoo.protocols.base import RANDOM_INIT, RAW_PIXELS
from ssl_zoo.protocols.candidate import Candidate, Encoded, SplitFeatures
from ssl_zoo.types import UserError

CONCATENATED = "concatenated"
_PIXELS = 32  # raw pixels of larger images are compared at this size


class RawPixels(nn.Module):
    """The normalised pixels themselves, (N, 3 * side * side); larger images shrink to 32 x 32."""

    def forward(self, images: Tensor) -> Tensor:
        if max(images.shape[-2:]) > _PIXELS:
            images = interpolate(images, size=(_PIXELS, _PIXELS), mode="area")
        return images.flatten(1)


class Concatenated(nn.Module):
    """L2-normalised outputs of several backbones side by side.

    Args:
        backbones: Each (N, 3, S, S) -> (N, D_i).
        preprocesses: One for each; images come normalised by the first one.

    Source: Musgrave et al. 2020, sec. 3.2 (the concatenated 512 dimensions of four models).
    """

    def __init__(self, backbones: list[nn.Module], preprocesses: list[Preprocess]) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.preprocesses = nn.ModuleList(copy.deepcopy(preprocesses))  # on this one's device

    def forward(self, images: Tensor) -> Tensor:
        first: Any = self.preprocesses[0]
        pixels = images * first.std + first.mean
        outputs = [
            f((pixels - own.mean) / own.std)
            for f, own in zip(self.backbones, self.preprocesses, strict=True)
        ]
        return torch.cat([normalize(h.float(), dim=1) for h in outputs], dim=1)


def candidates(
    config: dict[str, Any],
    sources: list[Source],
    preparations: list[Preparation],
    make_data: Callable[[int | None], DataModule],
    given: Mapping[str, Any],
) -> Iterator[Candidate]:
    """The rows: each checkpoint, several of them concatenated, random weights, raw pixels.

    The last two have no preprocessing of their own: they are given that of the first checkpoint,
    which they are compared with, or else that of the data set.

    Args:
        config: Of the evaluation, plain.
        sources: The checkpoints; or only random.
        preparations: One for each checkpoint.
        make_data: The data module, whose files of 16 bits have this white level.
        given: What replaces a preprocessing.
    """
    device = default_device()
    shared: dict[str, Any] = {
        "seed": config["seed"],
        "device": device,
        "batch_size": config["batch_size"],
        "precision": config["precision"],
        "training_precision": config["training_precision"],
    }
    members = []
    for name, source, prepared in zip(row_names(sources), sources, preparations, strict=False):
        assert source.pretrained is not None
        backbone, seen = source.pretrained.backbone.to(device), source.seen_classes
        fields = _prepared(prepared, make_data) | shared
        if isinstance(backbone, OnnxBackbone):  # onnxruntime computes in what the file holds
            fields["precision"] = "32-true"
        candidate = Candidate(name, backbone, seen_classes=seen, **fields)
        yield candidate
        members.append(candidate)
    if len(members) > 1:
        yield from _concatenated(members, shared)
    members.clear()  # which also frees their features
    if preparations and not config["baselines"]:
        return
    fields = _prepared(preparations[0] if preparations else None, make_data, given) | shared
    if config["backbone"] is None:
        info(f"no row of {RANDOM_INIT}: the file holds no architecture to initialise")
    else:
        with torch.random.fork_rng():  # the same weights, whatever was built before
            torch.manual_seed(config["seed"])
            backbone = build_backbone(config["backbone"]).eval().to(device)
        yield Candidate(RANDOM_INIT, backbone, **fields)
    if config["baselines"]:
        yield Candidate(RAW_PIXELS, RawPixels(), **fields)


def _prepared(
    prepared: Preparation | None,
    make_data: Callable[[int | None], DataModule],
    given: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """How a row's images are prepared: as a checkpoint's, or else as the data set says."""
    if prepared is not None:
        made = partial(make_data, prepared.preprocess.white)
        return {**prepared._asdict(), "make_data": made}
    own = make_data(None).preprocess
    changed = {name: own.options().get(name) for name in given}
    return {"preprocess": own, "changed": changed, "make_data": partial(make_data, None)}


def row_names(sources: list[Source]) -> list[str]:
    """Names of the rows: the folders' names if several checkpoints are scored and these differ."""
    if any(source.pretrained is None for source in sources):
        if len(sources) > 1:
            raise UserError("ckpt: random is a row of every table with baselines=true, remove it")
        return []
    if len(sources) == 1:
        return ["pretrained"]
    whole = [source.ckpt for source in sources]
    if len(set(whole)) < len(whole):
        raise UserError(f"ckpt={whole}: name each checkpoint once")
    short = [Path(ckpt).name for ckpt in whole]
    return short if len(set(short)) == len(short) else whole


def _concatenated(members: list[Candidate], shared: dict[str, Any]) -> Iterator[Candidate]:
    """All backbones as one, where they take the same pixels."""
    first = members[0]
    preprocesses = [m.preprocess for m in members]
    if len({(p.image_size, p.crop_fraction, p.white) for p in preprocesses}) > 1:
        info(f"no row of {CONCATENATED}: the checkpoints take images of different sizes or crops")
        return
    backbone = Concatenated([m.backbone for m in members], preprocesses).eval().to(first.device)
    seen = [m.seen_classes for m in members]
    union = None if None in seen else frozenset().union(*seen)  # type: ignore[arg-type]
    known = [m.encoded.features for m in members if m.encoded.features is not None]
    encoded = Encoded()
    if len(known) == len(members):  # no image is encoded again
        encoded.features = SplitFeatures(*map(_side_by_side, zip(*known, strict=True)))
    prepared = {name: getattr(first, name) for name in ("preprocess", "changed", "make_data")}
    yield Candidate(
        CONCATENATED, backbone, seen_classes=union, encoded=encoded, **prepared, **shared
    )


def _side_by_side(splits: tuple[Features, ...]) -> Features:
    parts = [normalize(split.representation, dim=1) for split in splits]
    return Features(torch.cat(parts, dim=1), splits[0].label)
