"""`init=`: pretraining starts from a loaded backbone, its momentum copy too; heads start anew."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from helpers.configs import TINY, Make
from helpers.layouts import CASES, resnet, swav_training
from ssl_zoo.config import instantiate
from ssl_zoo.train import train
from ssl_zoo.training.build import build_method
from ssl_zoo.types import UserError


def weights(run: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(run / "checkpoints" / "last.ckpt")["state_dict"]
    return {n.removeprefix("encoder.backbone."): v for n, v in state.items() if "backbone" in n}


def built(cfg: DictConfig) -> Any:
    return build_method(cfg, instantiate(cfg.data), cfg.init)


def test_backbone_and_momentum_copy_start_from_the_checkpoint(run: Path, make_config: Make) -> None:
    method = built(make_config("method=moco", "method.queue_size=128", f"init={run}"))
    saved = weights(run)
    state = method.state_dict()
    copies = [n.removesuffix("layers.0.weight") for n in state if n.endswith("layers.0.weight")]
    assert [copy.startswith("target.") for copy in copies] == [False, True]
    for copy in copies:
        for name, value in saved.items():
            assert torch.equal(state[copy + name], value), copy + name
    fresh = built(make_config("method=moco", "method.queue_size=128"))
    assert not torch.equal(
        fresh.encoder.backbone.state_dict()["layers.0.weight"], saved["layers.0.weight"]
    )


@pytest.mark.slow
def test_it_is_saved_as_text_and_a_resume_does_not_read_it(
    run: Path, make_config: Make, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(run, source)
    train(make_config(f"init={source}", "epochs=1", run="second"))
    shutil.rmtree(source)
    second = tmp_path / "second"
    saved = torch.load(second / "checkpoints" / "last.ckpt")
    assert saved["ssl_zoo"]["config"]["init"] == str(source)
    text = (second / "config.yaml").read_text()
    assert f"init: {source}" in text
    (second / "config.yaml").write_text(text.replace("epochs: 1\n", "epochs: 2\n"))
    result = second / "result.json"
    result.write_text(result.read_text().replace('"finished"', '"interrupted"'))
    train(make_config(f"resume={second}", run="third"))
    assert torch.load(second / "checkpoints" / "last.ckpt")["epoch"] > saved["epoch"]


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("backbone.widths=[8,24]", "widths: [8, 16] there, [8, 24] here"),
        ("backbone.strides=[1,2]", "strides: [2, 2] there, [1, 2] here"),
    ],
)
def test_another_architecture(override: str, differs: str, run: Path, make_config: Make) -> None:
    mend = "backbone=convnet backbone.widths=[8,16] backbone.strides=[2,2]"
    said = f"init={run} holds ConvNet, which is not backbone=ConvNet ({differs}): set {mend}"
    with pytest.raises(UserError) as error:
        built(make_config(f"init={run}", override))
    assert str(error.value) == said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "layout", "backbone"),
    [
        ("barlow_twins", "barlow_full", "resnet18"),
        ("vicreg", "vicreg_full", "resnet18"),
        ("lejepa", "vicreg_full", "resnet18"),  # of which there is no official file
        ("mocov3", "moco_v3", "resnet18"),
        ("nnclr", "solo_nnclr", "resnet18"),
        ("supcon", "supcon", "resnet18_cifar"),
        ("supcon", "supcon_parallel", "resnet18_cifar"),
    ],
)
def test_a_method_goes_on_from_its_papers_files(
    method: str, layout: str, backbone: str, make_config: Make, tmp_path: Path
) -> None:
    content, network, _ = CASES[layout]
    torch.save(content(), tmp_path / "official.pth")
    tiny = [o for o in TINY if not o.startswith("backbone")]
    chosen = [f"method={method}", "method.hidden_dim=16", f"backbone={backbone}"]
    if method == "nnclr":
        chosen.append("method.queue_size=64")
    if method in ("mocov3", "nnclr"):
        chosen.append("method.predictor_dim=16")
    cfg = make_config(
        *tiny, *chosen, "backbone.width=0.25", f"init={tmp_path / 'official.pth'}", tiny=False
    )
    started = built(cfg)
    encoders = [started.encoder, *([started.target.encoder] if method == "mocov3" else [])]
    for encoder in encoders:
        for name, value in network().state_dict().items():
            assert torch.equal(encoder.backbone.state_dict()[name], value), name
    metrics = train(cfg)
    assert math.isfinite(metrics["train/loss"])


def test_random_is_no_checkpoint_to_start_from(make_config: Make) -> None:
    with pytest.raises(UserError, match=r"^random is only for evaluate\.py's ckpt=:"):
        built(make_config("init=random"))


def test_the_override_that_mends_it_does(run: Path, make_config: Make, tmp_path: Path) -> None:
    tiny = [o for o in TINY if not o.startswith("backbone")]
    small = [*tiny, "backbone=resnet18", "backbone.width=0.25", f"init={run}"]
    with pytest.raises(
        UserError, match="holds ConvNet, which is not backbone=resnet18: set"
    ) as error:
        built(make_config(*small, tiny=False))
    mend = str(error.value).rpartition("set ")[2].split()
    method = built(make_config(*tiny, *mend, f"init={run}", tiny=False))
    assert torch.equal(method.encoder.backbone.layers[0].weight, weights(run)["layers.0.weight"])


TINY_VIT = ["backbone=timm", "backbone.name=vit_tiny_patch16_224", "+backbone.depth=2"]


def vit_of(make_config: Make, *overrides: str) -> DictConfig:
    tiny = [o for o in TINY if not o.startswith("backbone")]
    return make_config(*tiny, "dataset.image_size=32", *TINY_VIT, *overrides, tiny=False)


def test_options_that_are_equal_are_not_named(make_config: Make, tmp_path: Path) -> None:
    from ssl_zoo.backbones import timm_backbone

    name = "vit_tiny_patch16_224"
    torch.save(timm_backbone(name, img_size=64).state_dict(), tmp_path / "vit.pth")
    tiny = [o for o in TINY if not o.startswith("backbone")]
    chosen = ["backbone=timm", f"backbone.name={name}", "+backbone.patch_size=8"]
    cfg = make_config(*tiny, *chosen, f"init={tmp_path}/vit.pth", tiny=False)
    differs = r"\(img_size: 64 there, unset here; patch_size: 16 there, 8 here\): set"
    with pytest.raises(UserError, match=f"which is not backbone={name} {differs}"):
        built(cfg)


@pytest.mark.parametrize(
    "size", ["+backbone.img_size=32", pytest.param("", marks=pytest.mark.slow)]
)
def test_a_vits_positions_are_interpolated(
    size: str, run: Path, make_config: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """From 64 pixels, in a checkpoint of ours, to the size of another backbone."""
    from ssl_zoo.backbones import timm_backbone
    from ssl_zoo.backbones.positions import fitted

    options = {"img_size": 64, "depth": 2}
    network = timm_backbone("vit_tiny_patch16_224", **options)
    content = torch.load(run / "checkpoints" / "last.ckpt")
    target = {"_target_": "ssl_zoo.backbones.timm_backbone", "name": "vit_tiny_patch16_224"}
    content["ssl_zoo"]["config"]["backbone"] = target | options
    state = network.state_dict()
    content["state_dict"] = {f"encoder.backbone.{n}": v for n, v in state.items()}
    torch.save(content, run / "checkpoints" / "last.ckpt")
    caplog.set_level("INFO", logger="ssl_zoo")
    method = built(vit_of(make_config, f"init={run}", *([size] if size else [])))
    backbone = method.encoder.backbone
    for name, value in fitted(network.state_dict(), backbone).items():
        assert torch.equal(backbone.state_dict()[name], value), name
    grids = "2x2" if size else "14x14"
    assert f"positions of 4x4 patches interpolated to {grids}" in caplog.text


def test_images_that_are_no_whole_patches(make_config: Make) -> None:
    said = "image_size=40 is not a whole number of patches of 16 pixels: 32 is"
    with pytest.raises(UserError, match=said):
        built(vit_of(make_config, "dataset.image_size=40"))


@pytest.mark.slow
@pytest.mark.slow
def test_hints_about_the_file(make_config: Make, tmp_path: Path) -> None:
    from ssl_zoo.backbones import timm_backbone

    name = "vit_tiny_patch16_224"
    network = timm_backbone(name, img_size=64, num_heads=6)
    copy = {f"b.{n}": v * 0 for n, v in network.state_dict().items()}
    own = {f"a.{n}": v for n, v in network.state_dict().items()}
    torch.save(own | copy, tmp_path / "two.pth")
    tiny = [o for o in TINY if not o.startswith("backbone")]
    chosen = ["backbone=timm", f"backbone.name={name}", f"init={tmp_path}/two.pth"]
    with pytest.raises(UserError, match="choose one by ckpt_prefix=a"):
        built(make_config(*tiny, *chosen, tiny=False))
    chosen.append("ckpt_prefix=a")
    with pytest.raises(UserError, match=r"\+backbone\.num_heads=6"):
        built(make_config(*tiny, *chosen, "ckpt_heads=6", tiny=False))
    sized = ["+backbone.num_heads=6", "ckpt_heads=6", "dataset.image_size=32"]
    method = built(make_config(*tiny, *chosen, *sized, tiny=False))
    weight = method.encoder.backbone.state_dict()["norm.weight"]
    assert torch.equal(weight, network.state_dict()["norm.weight"])
    with pytest.raises(
        UserError, match=r"^ckpt_heads=6 says what is in the file of init, which is"
    ):
        built(make_config(*tiny, "ckpt_heads=6", tiny=False))


@pytest.mark.slow
def test_swav_goes_on_from_a_file_of_its_code(make_config: Make, tmp_path: Path) -> None:
    torch.save(swav_training(), tmp_path / "swav.pth.tar")
    tiny = [o for o in TINY if not o.startswith("backbone")]
    knobs = ["method=swav", "method.num_prototypes=20", "method.frozen_epochs=0", "callbacks=none"]
    chosen = ["backbone=resnet18", "backbone.width=0.25", f"init={tmp_path / 'swav.pth.tar'}"]
    cfg = make_config(*tiny, *knobs, *chosen, tiny=False)
    loaded = built(cfg).encoder.backbone.state_dict()
    for name, value in resnet().state_dict().items():
        assert torch.equal(loaded[name], value)
    assert train(cfg)["train/loss"] > 0


def test_from_an_official_file(make_config: Make, tmp_path: Path) -> None:
    from ssl_zoo.backbones import torchvision_backbone

    network = torchvision_backbone("resnet18", "cifar", width=0.25)
    state = {f"module.encoder_q.{n}": v for n, v in network.state_dict().items()}
    path = tmp_path / "moco.pth.tar"
    torch.save({"state_dict": state | {"module.encoder_k.a": torch.ones(1)}}, path)
    tiny = [o for o in TINY if not o.startswith("backbone")]
    chosen = ["backbone=resnet18_cifar", "backbone.width=0.25", f"init={path}"]
    method = built(make_config(*tiny, *chosen, tiny=False))
    other = make_config(*tiny, "backbone=resnet18", f"init={path}", tiny=False)
    differs = r"\(stem: cifar there, imagenet here; width: 0\.25 there, 1\.0 here\): set"
    with pytest.raises(UserError, match=f"resnet18, which is not backbone=resnet18 {differs}"):
        built(other)
    for name, value in network.state_dict().items():
        assert torch.equal(method.encoder.backbone.state_dict()[name], value)
