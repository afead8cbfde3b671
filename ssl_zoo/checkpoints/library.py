"""Backbones with the weights that torchvision and timm publish."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torchvision
from torch import nn

from ssl_zoo.backbones import timm_backbone, torchvision_backbone
from ssl_zoo.checkpoints.loaded import Loaded
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.types import UserError, first_line


def load_library(source: str) -> Loaded:
    """`torchvision:NAME`, `torchvision:NAME:WEIGHTS` or `timm:NAME`; downloads what is not cached.

    Raises:
        UserError: If the name is unknown, or the weights are not cached and cannot be downloaded.
    """
    library, _, name = source.partition(":")
    return _timm(name) if library == "timm" else _torchvision(*name.partition(":")[::2])


def _torchvision(name: str, weights: str) -> Loaded:
    config = {
        "_target_": "ssl_zoo.backbones.torchvision_backbone",
        "name": name,
        "weights": weights or "DEFAULT",
    }
    try:
        backbone = torchvision_backbone(name, weights=config["weights"])
    except OSError as error:  # URLError is one
        raise _no_download(source=f"torchvision:{name}", cache=torch.hub.get_dir()) from error
    transforms = torchvision.models.get_model_weights(name)[config["weights"]].transforms()
    (image_size,), (resize_size, *_) = transforms.crop_size, transforms.resize_size
    preprocess = Preprocess(image_size, image_size / resize_size, transforms.mean, transforms.std)
    return _loaded(f"torchvision:{name}:{config['weights']}", backbone, preprocess, config)


def _timm(name: str) -> Loaded:
    import timm
    from timm.data.config import resolve_model_data_config

    config = {"_target_": "ssl_zoo.backbones.timm_backbone", "name": name}
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name}*")[:5])
        raise UserError(f"timm:{name} is not a timm model{'; near: ' + close if close else ''}")
    try:
        timm_backbone(name)  # tells an unknown tag from a failed download
    except RuntimeError as error:  # what follows the dot
        raise UserError(f"timm:{name}: {first_line(error)}") from error
    try:
        with _quiet_hub():
            backbone = timm_backbone(name, pretrained=True)
    except Exception as error:  # the hub has an exception class for each failure
        if "No pretrained weights" in str(error):
            raise UserError(f"timm:{name} has no pretrained weights") from error
        cache = "HF_HOME, else ~/.cache/huggingface"
        raise _no_download(source=f"timm:{name}", cache=cache) from error
    data: dict[str, Any] = resolve_model_data_config(backbone)  # type: ignore[no-untyped-call]
    preprocess = Preprocess(data["input_size"][-1], data["crop_pct"], data["mean"], data["std"])
    return _loaded(f"timm:{name}", backbone, preprocess, config | {"pretrained": True})


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Suppress the hub's line on each retry."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _loaded(
    source: str, backbone: nn.Module, preprocess: Preprocess, config: dict[str, Any]
) -> Loaded:
    report = (
        f"{source}: {len(backbone.state_dict())} weights loaded, none missing; left over: the "
        f"classifier; images: {preprocess.image_size} pixels, normalised"
    )
    return Loaded(backbone.eval(), preprocess, config, report)


def _no_download(source: str, cache: str) -> UserError:
    return UserError(
        f"{source}: its weights could not be downloaded, and are not in the cache ({cache}): "
        "connect to the network, or put the file there"
    )
