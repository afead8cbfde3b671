"""Backbones from timm: (N, C, H, W) -> (N, num_features)."""

from __future__ import annotations

from typing import Any

from torch import nn

from ssl_zoo.backbones.positions import any_size, is_timm_vit
from ssl_zoo.backbones.stem import Stem, check_stem, cifar_stem
from ssl_zoo.types import BadValue

_VITS = ("timm.models.vision_transformer", "timm.models.deit")  # that interpolate their positions


def timm_backbone(name: str, stem: Stem = "imagenet", **options: Any) -> nn.Module:
    """A timm model without its classifier.

    Its ViTs take images of any whole number of patches: the position embedding is interpolated.

    Args:
        name: As in `timm.create_model`.
        stem: "cifar" = 3x3 convolution of stride 1, no max-pool, for timm's ResNets.
        **options: Passed to `timm.create_model`.

    Raises:
        UserError: If the name is unknown or the model has no ResNet stem to replace.
    """
    import timm  # takes as long as everything else of ours, and most runs have no model of it

    check_stem(stem)
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name}*")[:5])
        raise BadValue("name", name, f"a model of timm{'; near: ' + close if close else ''}")
    if timm.models.model_entrypoint(name).__module__ in _VITS:
        options = {"dynamic_img_size": True} | options
    model: nn.Module = timm.create_model(name, num_classes=0, **options)
    if options.get("dynamic_img_size") and is_timm_vit(model):
        any_size(model)
    if stem == "cifar":
        if not isinstance(getattr(model, "conv1", None), nn.Conv2d) or not hasattr(
            model, "maxpool"
        ):
            raise BadValue("stem", stem, says=f"needs a plain ResNet stem, which {name} lacks")
        cifar_stem(model)
    # if timm keeps a layer between the pooling and the classifier, num_features does not count it
    model.num_features = getattr(model, "head_hidden_size", None) or model.num_features
    return model
