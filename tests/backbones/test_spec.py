"""What a backbone's config means, and that what is to be typed gives the backbone."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from helpers.configs import Make
from ssl_zoo.backbones.spec import (
    difference,
    library_name,
    library_options,
    overrides,
    same_as,
    untrained,
)
from ssl_zoo.config import options_of
from ssl_zoo.types import UserError

NAMES = {"torchvision": "convnext_tiny", "timm": "vit_tiny_patch16_224"}


def resnet(name: str = "resnet18", function: str = "torchvision_backbone", **more: Any) -> Any:
    return {"_target_": f"ssl_zoo.backbones.{function}", "name": name, **more}


def composed(make_config: Make, *typed: str) -> dict[str, Any]:
    config: Any = OmegaConf.to_container(make_config(*typed, tiny=False).backbone, resolve=True)
    return dict(config)


@pytest.mark.parametrize("option", options_of("backbone"))
def test_an_option_is_found_again(option: str, make_config: Make) -> None:
    """Each of conf/backbone, without a table that could forget one."""
    name = [f"backbone.name={NAMES[option]}"] if option in NAMES else []
    config = composed(make_config, f"backbone={option}", *name)
    assert overrides(config) == " ".join([f"backbone={option}", *name])


@pytest.mark.parametrize(
    ("config", "typed"),
    [
        (resnet(stem="cifar", width=0.25), "backbone=resnet18_cifar backbone.width=0.25"),
        (resnet("resnet34", stem="cifar"), "backbone=resnet34 backbone.stem=cifar"),
        (resnet("resnet152", weights="DEFAULT"), "backbone=torchvision backbone.name=resnet152"),
        (resnet(function="ported_resnet", variant="same_padding"), "backbone=resnet18"),
        (
            resnet("vit_tiny_patch16_224", "timm_backbone", img_size=64, global_pool=None),
            "backbone=timm backbone.name=vit_tiny_patch16_224 +backbone.img_size=64 "
            "+backbone.global_pool=null",
        ),
        (
            {"_target_": "ssl_zoo.backbones.ConvNet", "widths": [8, 16], "strides": [2, 1]},
            "backbone=convnet backbone.widths=[8,16] backbone.strides=[2,1]",
        ),
        (
            {"_target_": "ssl_zoo.backbones.SmallResNet", "widths": [32, 64, 160, 320], "depth": 2},
            "backbone=small_resnet backbone.depth=2",
        ),
    ],
)
def test_what_to_type(config: dict[str, Any], typed: str, make_config: Make) -> None:
    assert overrides(config) == typed
    made = composed(make_config, *typed.split())
    assert same_as(made, config)
    assert difference(config, made) == ""


def test_a_network_of_no_option() -> None:
    config = {"_target_": "ssl_zoo.backbones.Mine", "depth": 3}
    assert overrides(config) == "backbone._target_=ssl_zoo.backbones.Mine +backbone.depth=3"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"weights": "DEFAULT", "zero_init_residual": True}, True),
        ({"name": "wide_resnet50_2"}, True),  # shapes tell
        ({"function": "ported_resnet", "variant": "no_stem_relu"}, True),
        ({"stem": "cifar"}, False),
        ({"num_heads": 12}, False),
    ],
)
def test_the_same(other: dict[str, Any], same: bool) -> None:
    config = resnet(stem="imagenet", width=1.0)
    assert same_as(config, resnet(**{"stem": "imagenet", "width": 1.0, **other})) is same


def test_the_difference_names_what_differs() -> None:
    assert difference(resnet(stem="cifar"), resnet()) == "stem: cifar there, imagenet here"
    assert difference(resnet(), resnet(width=1.0, pretrained=True)) == ""
    assert difference(resnet("resnet34", width=0.5), resnet()) == ""  # the names say it
    vit = resnet("vit_tiny_patch16_224", "timm_backbone")
    assert difference({**vit, "img_size": 64}, vit) == "img_size: 64 there, unset here"


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_library_name(library: str) -> None:
    other = "timm" if library == "torchvision" else "torchvision"
    for config in (
        resnet("resnet50", stem="imagenet", width=1.0),
        resnet("resnet50", "timm_backbone"),
    ):
        assert library_name(config, library) == "resnet50"
    assert library_name(resnet("convnext_tiny", f"{library}_backbone"), library) == "convnext_tiny"
    for config, said in (
        (resnet("convnext_tiny", f"{other}_backbone"), "convnext_tiny"),
        (resnet(stem="cifar"), "resnet18 cifar"),
        (resnet(width=0.5), "resnet18 0.5"),
        (resnet(function="ported_resnet", variant="solo_cifar"), "resnet18 solo_cifar"),
        ({"_target_": "ssl_zoo.backbones.googlenet"}, "googlenet"),
    ):
        with pytest.raises(UserError, match=f"^{said} is not a network of {library}: use"):
            library_name(config, library)


def test_library_options() -> None:
    config = resnet("vit_tiny_patch16_224", "timm_backbone", stem="imagenet", pretrained=True)
    assert library_options(config | {"img_size": 64}) == {"img_size": 64}


def test_untrained_reaches_inner_configs() -> None:
    config = {"backbone": resnet(weights="DEFAULT", pretrained=True), "widths": [1]}
    expected = {"backbone": resnet(weights=None, pretrained=False), "widths": [1]}
    assert untrained(config) == expected
