"""ViTs at another image size than their own interpolate their position embeddings."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from helpers.networks import noise, randomised
from ssl_zoo.backbones import timm_backbone, torchvision_backbone
from ssl_zoo.backbones.positions import at_size, fitted, grid_of
from ssl_zoo.types import UserError

TINY = "vit_tiny_patch16_224"


def ours(name: str = TINY, **options: Any) -> Any:
    return randomised(timm_backbone(name, img_size=64, **options))


def torchvisions() -> Any:
    return torchvision_backbone("vit_b_32", image_size=64)


def computed(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(images)


@pytest.mark.parametrize(
    "options", [{}, {"reg_tokens": 4, "no_embed_class": True}], ids=["class token", "registers"]
)
def test_timm_at_its_own_size_and_at_another(options: dict[str, Any]) -> None:
    network = ours(**options)
    plain = timm.create_model(TINY, num_classes=0, img_size=64, **options).eval()
    plain.load_state_dict(network.state_dict())
    images = noise(2, 3, 64, 64)
    assert torch.equal(computed(network, images), computed(plain, images))
    large = timm.create_model(TINY, num_classes=0, img_size=96, **options).eval()
    prefix = 0 if options else 1
    positions = resample_abs_pos_embed(network.pos_embed, [6, 6], num_prefix_tokens=prefix)
    large.load_state_dict(network.state_dict() | {"pos_embed": positions.detach()})
    images = noise(2, 3, 96, 96)
    torch.testing.assert_close(computed(network, images), computed(large, images))


@pytest.mark.slow
def test_torchvision_at_its_own_size_and_at_another() -> None:
    theirs = randomised(torchvision.models.vit_b_32(image_size=64))
    network = torchvision_backbone("vit_b_32", image_size=64).eval()
    missing, extra = network.load_state_dict(theirs.state_dict(), strict=False)
    assert (missing, sorted(extra)) == ([], ["heads.head.bias", "heads.head.weight"])
    theirs.heads = nn.Identity()
    images = noise(2, 3, 64, 64)
    assert torch.equal(computed(network, images), computed(theirs, images))
    large = torchvision.models.vit_b_32(image_size=128)
    large.heads = nn.Identity()
    # align_corners differs between the two libraries: ours is timm's everywhere
    state = interpolate_embeddings(128, 32, theirs.state_dict())
    assert state["encoder.pos_embedding"].shape == (1, 17, 768)
    state["encoder.pos_embedding"] = resample_abs_pos_embed(
        theirs.encoder.pos_embedding.detach(), [4, 4]
    )
    large.load_state_dict(state)
    images = noise(2, 3, 128, 128)
    torch.testing.assert_close(
        computed(network, images), computed(large.eval(), images), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("build", [ours, pytest.param(torchvisions, marks=pytest.mark.slow)])
def test_images_that_are_not_whole_patches(build: Any) -> None:
    with pytest.raises(UserError, match=r"^image_size=70 is not a whole number of patches of"):
        build()(noise(1, 3, 70, 70))


def test_positions_are_fitted_to_another_backbone() -> None:
    network, other = ours(), timm_backbone(TINY, img_size=96)
    weights = fitted(network.state_dict(), other)
    other.load_state_dict(weights)
    assert (grid_of(network), grid_of(other)) == ((4, 4), (6, 6))
    images = noise(2, 3, 96, 96)
    torch.testing.assert_close(computed(other.eval(), images), computed(network, images))
    same = network.state_dict()
    assert all(torch.equal(value, same[n]) for n, value in fitted(same, ours()).items())


def test_the_config_of_another_size() -> None:
    config = {"_target_": "ssl_zoo.backbones.timm_backbone", "name": TINY}
    network = ours()
    assert at_size(config, network, 64) is config
    assert at_size(config, network, 96) == config | {"img_size": 96}
    resnet = torchvision_backbone("resnet18", width=0.25)
    assert grid_of(resnet) is None
    assert at_size(config, resnet, 96) is config


def test_only_vits_have_an_image_size() -> None:
    with pytest.raises(UserError, match=r"^image_size=64 is for ViTs: resnet18 takes any size$"):
        torchvision_backbone("resnet18", image_size=64)
