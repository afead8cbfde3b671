"""Backbones from torchvision: (N, C, H, W) -> (N, num_features)."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import ResNet, SqueezeNet, VisionTransformer

from ssl_zoo.backbones.positions import AnySizeViT
from ssl_zoo.backbones.stem import Stem, check_stem, cifar_stem
from ssl_zoo.types import BadValue


def torchvision_backbone(
    name: str,
    stem: Stem = "imagenet",
    width: float = 1.0,
    zero_init_residual: bool = False,
    weights: str | None = None,
    image_size: int | None = None,
) -> nn.Module:
    """A torchvision model without its classifiers.

    GoogLeNet and Inception lose their auxiliary ones too, which make them return tuples in
    training. ViTs take images of any whole number of patches: the position embedding is
    interpolated.

    Args:
        name: A classifier, as in `torchvision.models.get_model`.
        stem: "cifar" = 3x3 convolution of stride 1 and padding 1, no max-pool (ResNets only;
            Chen et al. 2020, B.9).
        width: Multiplies the channels of a ResNet.
        zero_init_residual: Start each residual block as the identity (ResNets only).
        weights: torchvision's name of pretrained weights, such as "DEFAULT".
        image_size: Of a ViT, the image size that its position embedding is for; None = as
            published.

    Raises:
        UserError: If the name is unknown, or an option does not fit the model.
    """
    check_stem(stem)
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise BadValue("name", name, "a classifier of torchvision.models")
    if width <= 0:
        raise BadValue("width", width, "above 0")
    _check_weights(name, weights, torchvision.models.get_model_weights(name))
    builder = torchvision.models.get_model_builder(name)
    if image_size is not None and builder.__module__ != VisionTransformer.__module__:
        raise BadValue("image_size", image_size, says=f"is for ViTs: {name} takes any size")
    if builder.__module__ != ResNet.__module__:
        if stem != "imagenet" or width != 1.0 or zero_init_residual:
            says = "is not a ResNet: leave out stem, width and zero_init_residual"
            raise BadValue("name", name, says=says)
        return _other(builder, name, weights, image_size)
    with torch.device("meta"):
        template = builder(weights=None)
    if weights is not None and (stem != "imagenet" or width != 1.0):
        raise BadValue("weights", weights, says="fits only stem=imagenet and width=1")
    model = _resnet(template, width, zero_init_residual)
    if weights is not None:
        model.load_state_dict(builder(weights=weights).state_dict())
    if stem == "cifar":
        cifar_stem(model)
    return _without_classifier(model, name)


def _other(builder: Any, name: str, weights: str | None, image_size: int | None) -> nn.Module:
    """A network that is not a ResNet, without its classifiers."""
    if name in ("googlenet", "inception_v3"):
        own = {"init_weights": True} if weights is None else {}  # else torchvision warns
        return _without_classifier(builder(weights=weights, aux_logits=False, **own), name)
    if builder.__module__ != VisionTransformer.__module__:
        return _without_classifier(builder(weights=weights), name)
    if image_size is not None and weights is not None:
        raise BadValue("image_size", image_size, says="is the weights' own: leave it out")
    vit = builder(weights=weights, **({} if image_size is None else {"image_size": image_size}))
    vit.__class__ = AnySizeViT
    return _without_classifier(vit, name)


def _check_weights(name: str, weights: str | None, known: Any) -> None:
    """Refuse weights that torchvision does not have.

    Raises:
        BadValue: Naming those that exist.
    """
    if weights is not None and weights not in known.__members__:
        raise BadValue("weights", weights, f"one of {name}'s: {', '.join(known.__members__)}")


def _resnet(template: ResNet, width: float, zero_init_residual: bool) -> ResNet:
    """A ResNet built like `template`, with its channels multiplied by `width`."""

    def scaled(channels: int) -> int:
        return max(1, round(channels * width))

    class Scaled(ResNet):  # type: ignore[misc]
        # torchvision writes its widths (64 ... 512) into __init__; they all pass through here.
        def _make_layer(
            self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False
        ) -> nn.Sequential:
            if planes == 64:
                self.inplanes = scaled(64)
            layer: nn.Sequential = super()._make_layer(
                block, scaled(planes), blocks, stride, dilate
            )
            return layer

    stages = [template.layer1, template.layer2, template.layer3, template.layer4]
    model = Scaled(
        type(template.layer1[0]),
        [len(stage) for stage in stages],
        groups=template.groups,
        width_per_group=template.base_width,
        zero_init_residual=zero_init_residual,
    )
    if width != 1.0:
        model.conv1 = nn.Conv2d(3, scaled(64), kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.bn1 = nn.BatchNorm2d(scaled(64))
        block = type(template.layer1[0])
        model.fc = nn.Linear(scaled(512) * block.expansion, 1)
    return model


def _without_classifier(model: Any, model_name: str) -> nn.Module:
    """Replace the last layer by the identity and record its input width."""
    if isinstance(model, SqueezeNet):  # its classifier is a convolution before the pooling
        model.num_features = model.classifier[1].in_channels
        model.classifier = nn.AdaptiveAvgPool2d(1)
        pooled: nn.Module = model
        return pooled
    for name in ("fc", "classifier", "head", "heads"):
        head = getattr(model, name, None)
        if isinstance(head, nn.Linear):
            setattr(model, name, nn.Identity())
        elif isinstance(head, nn.Sequential) and isinstance(head[-1], nn.Linear):
            layers, head = head, head[-1]
            layers[-1] = nn.Identity()
        else:
            continue
        model.num_features = head.in_features
        backbone: nn.Module = model
        return backbone
    raise BadValue("name", model_name, "a model that ends in a linear classifier")


def googlenet(weights: str | None = None) -> nn.Module:
    """GoogLeNet of torchvision without its classifiers: (N, 3, H, W) -> (N, 1024).

    Its auxiliary classifiers, which make it return tuples in training, are removed.

    Args:
        weights: torchvision's name of pretrained weights, such as "DEFAULT".

    Raises:
        UserError: If the weights are unknown.

    Source: Szegedy et al. 2015, with the batch norm of Ioffe & Szegedy 2015.
    """
    return torchvision_backbone("googlenet", weights=weights)
