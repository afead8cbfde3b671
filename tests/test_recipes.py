"""Every number of every recipe, against the paper or the code whose figure it quotes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from helpers.configs import Make
from helpers.programs import composed
from helpers.tiers import every, only
from ssl_zoo.config import (
    CONFIG_DIR,
    EVALUATE_ROOTS,
    TRAIN_ROOTS,
    check_overrides,
    instantiate,
    register_resolvers,
)
from ssl_zoo.training.steps import count_steps

FOLDER = Path(CONFIG_DIR) / "experiment"
# Made and measured here: their headers have the measurement. The others follow something published.
OWN = {
    *(f"{name}_quick" for name in ("simclr", "moco", "byol", "simsiam", "instdisc")),
    *("barlow_twins_quick", "vicreg_quick", "lejepa_quick"),
    *("mocov3_quick", "nnclr_quick", "supcon_quick"),
    *("swav_quick", "lejepa_multi_crop_quick"),
    *("bccd_tiles", "metric_learning_omniglot", "simclr_cifar10_cpu"),
}


def flat(prefix: str, **knobs: Any) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in knobs.items()}


# --- what several share ---------------------------------------------------------------------------

WHOLE = {"dataset.val_fraction": 0}
FLOAT32 = {"precision": "32-true"}
NOTEBOOK = flat("dataset", mean=[0.4914, 0.4822, 0.4465], std=[0.2023, 0.1994, 0.2010])
NOT_NORMALISED = flat("dataset", mean=[0.0] * 3, std=[1.0] * 3)
R18_CIFAR = flat("backbone", name="resnet18", stem="cifar")
R50 = flat("backbone", name="resnet50", stem="imagenet")
ZERO_INIT = {"backbone.zero_init_residual": True}
NO_ZERO_INIT = {"backbone.zero_init_residual": False}


def run(epochs: int, batch_size: int) -> dict[str, Any]:
    return {"epochs": epochs, "batch_size": batch_size}


def sgd(base_lr: float, lr: float, weight_decay: float, decays_all: bool = True) -> dict[str, Any]:
    class_name = {"optimizer.module.optimizer._target_": "torch.optim.SGD"}
    knobs = {"base_lr": base_lr, "lr": lr, "weight_decay": weight_decay, "momentum": 0.9}
    return class_name | flat(
        "optimizer", **knobs, nesterov=False, exclude_bias_and_norm=not decays_all
    )


def lars(base_lr: float, lr: float, weight_decay: float, inside: bool) -> dict[str, Any]:
    class_name = {"optimizer.module.optimizer._target_": "ssl_zoo.optim.LARS"}
    knobs = {"base_lr": base_lr, "lr": lr, "weight_decay": weight_decay, "momentum": 0.9}
    knobs |= {"trust_coefficient": 0.001, "trust": "joint", "lr_in_buffer": inside}
    return class_name | flat("optimizer", **knobs, exclude_bias_and_norm=True, nesterov=False)


def solo_lars(base_lr: float, weight_decay: float) -> dict[str, Any]:
    """solo-learn's: eta 0.02, clip_lr, biases and norms excluded; its batches are of 256."""
    knobs = {"trust_coefficient": 0.02, "trust": "separate", "clip": True}
    rates = flat("optimizer", bias_and_norm_lr_multiplier=1.0)
    return lars(base_lr, base_lr, weight_decay, inside=False) | flat("optimizer", **knobs) | rates


def schedule(name: str, **knobs: Any) -> dict[str, Any]:
    return {"scheduler._target_": f"ssl_zoo.optim.{name}"} | flat("scheduler", **knobs)


def head(slot: str, **knobs: Any) -> dict[str, Any]:
    return flat(f"method.{slot}", **knobs)


def jitter(
    brightness: float, contrast: float, saturation: float, hue: float, probability: float = 0.8
) -> dict[str, Any]:
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    return flat("augmentation", **strengths, hue=hue, jitter=probability, jitter_order="random")


def views(least: float, order: list[str], interpolation: str, **knobs: Any) -> dict[str, Any]:
    ratio = [0.75, 1.3333333333333333]
    shared = {"crop_scale": [least, 1.0], "crop_ratio": ratio, "interpolation": interpolation}
    return flat("augmentation", **shared, order=order, grayscale=0.2, **knobs)


TORCHVISIONS = flat(
    "augmentation",
    crop_form="redraw",
    antialias=True,
    brightness_form="multiply",
    contrast_form="gray",
    saturation_form="gray",
    blur_padding="reflect",
)
TENSORFLOWS = flat(
    "augmentation",
    crop_form="tensorflow",
    antialias=False,
    contrast_form="channel",
    saturation_form="hsv",
)
SIMCLR_ORDER = ["crop", "flip", "jitter", "grayscale", "blur", "solarize"]
# MoCo's CIFAR-10 notebook, cell "data"
CIFAR_VIEWS = (
    views(0.08, SIMCLR_ORDER, "bilinear", flip=0.5, blur=0.0, solarize=0.0)
    | jitter(0.4, 0.4, 0.4, 0.1)
    | TORCHVISIONS
)
# moco/main_moco.py and simsiam/main_simsiam.py
AUG_PLUS_ORDER = ["crop", "jitter", "grayscale", "blur", "flip"]
MOCO_V2_VIEWS = (
    views(0.2, AUG_PLUS_ORDER, "bilinear", flip=0.5, blur=0.5, blur_sigma=[0.1, 2.0])
    | jitter(0.4, 0.4, 0.4, 0.1)
    | TORCHVISIONS
)
MOCO_V1_ORDER = ["crop", "grayscale", "jitter", "flip"]
MOCO_V1_VIEWS = (
    views(0.2, MOCO_V1_ORDER, "bilinear", flip=0.5)
    | jitter(0.4, 0.4, 0.4, 0.4, probability=1.0)
    | TORCHVISIONS
)
# transform of barlowtwins' and vicreg's code, with torchvision's operations; asymmetric.yaml
BYOL_VIEWS = (
    views(0.08, SIMCLR_ORDER, "bicubic", flip=0.5, blur_sigma=[0.1, 2.0], solarize_threshold=0.5)
    | jitter(0.4, 0.4, 0.2, 0.1)
    | TORCHVISIONS
    | {"augmentation.views": [{"blur": 1.0, "solarize": 0.0}, {"blur": 0.1, "solarize": 0.2}]}
)
# solo-learn, scripts/pretrain/cifar/augmentations/asymmetric.yaml
SOLO_ASYMMETRIC = BYOL_VIEWS | {
    "augmentation.blur": 0.0,
    "augmentation.views": [{"solarize": 0.0}, {"solarize": 0.2}],
}
SOLO_PIXELS = flat("dataset", mean=[0.4914, 0.4822, 0.4465], std=[0.2470, 0.2435, 0.2616])
# facebookresearch/eb_jepa, examples/image_jepa; lambda of rbalestr-lab/lejepa, MINIMAL.md
EB_JEPA = (
    head("projector", hidden_dim=2048, out_dim=128, num_layers=3, hidden_norm=True)
    | flat("method", embed_dim=128, hidden_dim=2048, sigreg_weight=0.02)
    | head("loss", num_slices=256, num_global=None, t_max=3.0, num_points=17)
    | BYOL_VIEWS
    | flat("augmentation", crop_scale=[0.2, 1.0], interpolation="bilinear", views=[])
    | flat("augmentation", blur=0.0, solarize=0.1)
    | solo_lars(0.3, 1e-4)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0)
)
STEPS_200 = schedule("multistep", milestones=[120, 160], gamma=0.1)  # of 200 epochs, both papers
SIMCLR_HEAD = head("projector", hidden_dim=None, hidden_norm=True, out_norm="scale") | flat(
    "method", embed_dim=128
)
LINEAR_HEAD = {
    "method.projector._target_": "ssl_zoo.modules.Linear",
    "method.embed_dim": 128,
}
MOCO_V3 = (
    head("projector", hidden_dim=4096, out_dim=256, num_layers=2, hidden_norm=True)
    | head("projector", out_norm="plain")
    | head("predictor", hidden_dim=4096, num_layers=2, hidden_norm=True, out_norm="none")
    | head("predictor", out_bias=False)
    | flat("method", final_momentum=1.0)
    | head("loss", base_temperature=0.5)  # 2 tau
)
NNCLR_HEADS = (
    head("projector", hidden_dim=2048, out_dim=256, num_layers=3, hidden_norm=True)
    | head("projector", out_norm="affine")
    | head("predictor", hidden_dim=4096, num_layers=2, hidden_norm=True, out_norm="none")
)
SUPCON = (
    head("projector", hidden_dim=None, out_dim=128, num_layers=2, hidden_norm=False)
    | head("loss", temperature=0.1, base_temperature=0.07, anchors="all")
    | flat("method", temperature=0.1, loss_weight=1.0)
)
SUPCON_RATES = schedule(
    "cosine_by_epoch", first_epoch=1, final=0.001, warmup_epochs=10, warmup_from=0.02
)
SIMSIAM = head(
    "projector", hidden_dim=2048, out_dim=2048, hidden_norm=True, out_norm="plain"
) | head("predictor", hidden_dim=512, hidden_norm=True, out_norm="none", num_layers=2)
SIMSIAM |= flat("method", symmetric=True, constant_predictor_lr=True, loss_weight=1.0)


SWAV = head("projector", hidden_dim=2048, out_dim=128, num_layers=2, hidden_bias=True)
SWAV |= head("projector", hidden_norm=True, out_norm="none") | head("prototypes", count=3000)
SWAV |= head("assignment", epsilon=0.05, iterations=3)
SWAV |= flat("method", temperature=0.1, num_targets=2, loss_weight=1.0)


# --- recipe -> key -> what is published -----------------------------------------------------------

RECIPES: dict[str, dict[str, Any]] = {
    # README of google-research/simclr, its CIFAR-10 command; data_util, model_util, lars_optimizer
    "simclr_cifar10": run(1007, 512)
    | WHOLE
    | NOT_NORMALISED
    | R18_CIFAR
    | ZERO_INIT
    | {"trainer.max_steps": 97656}  # 1000 epochs: 1000 * 50,000 // 512
    | SIMCLR_HEAD
    | flat("method", temperature=0.5, loss_weight=2.0, same_view_negatives=True)
    | {"method.projector.num_layers": 3}  # its flag num_proj_layers
    | views(0.08, SIMCLR_ORDER, "bicubic", flip=0.5, blur=0.0, solarize=0.0)
    | jitter(0.4, 0.4, 0.4, 0.1)  # color_jitter_strength 0.5
    | TENSORFLOWS
    | {"augmentation.brightness_form": "multiply"}
    | lars(1.0, 2.0, 1e-4, inside=True)
    | schedule("warmup_cosine", warmup_epochs=10.065, final=0.0),
    # Chen et al. 2020, sec. 2.2 and A; the first README of the code
    "simclr_imagenet": run(100, 4096)
    | WHOLE
    | NOT_NORMALISED
    | R50
    | ZERO_INIT
    | SIMCLR_HEAD
    | {"method.projector.num_layers": 2, "trainer.max_steps": -1}
    | flat("method", temperature=0.1, loss_weight=2.0, same_view_negatives=True)
    | views(0.08, SIMCLR_ORDER, "bicubic", flip=0.5, blur=0.5, blur_sigma=[0.1, 2.0])
    | jitter(0.8, 0.8, 0.8, 0.2)
    | TENSORFLOWS
    | flat("augmentation", brightness_form="add", blur_padding="zero", solarize=0.0)
    | lars(0.3, 4.8, 1e-6, inside=True)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0),
    # facebookresearch/moco, colab notebook
    "moco_cifar10": run(200, 512)
    | WHOLE
    | FLOAT32
    | NOTEBOOK
    | R18_CIFAR
    | NO_ZERO_INIT
    | LINEAR_HEAD
    | flat("method", queue_size=4096, momentum=0.99, temperature=0.1, symmetric=False)
    | {"method.target.num_splits": 8, "method.loss_weight": 1.0}
    | CIFAR_VIEWS
    | sgd(0.03, 0.06, 5e-4)
    | schedule("cosine_by_epoch", first_epoch=1),
    # He et al. 2020, sec. 3.3; main_moco.py
    "moco_imagenet": run(200, 256)
    | WHOLE
    | FLOAT32
    | R50
    | NO_ZERO_INIT
    | LINEAR_HEAD
    | flat("method", queue_size=65536, momentum=0.999, temperature=0.07, symmetric=False)
    | MOCO_V1_VIEWS
    | sgd(0.03, 0.03, 1e-4)
    | STEPS_200,
    # Chen et al. 2020 (v2); README: --mlp --moco-t 0.2 --aug-plus --cos
    "mocov2_imagenet": run(200, 256)
    | WHOLE
    | FLOAT32
    | R50
    | NO_ZERO_INIT
    | head("projector", hidden_dim=None, hidden_norm=False, out_norm="none", num_layers=2)
    | flat("method", queue_size=65536, momentum=0.999, temperature=0.2, symmetric=False)
    | {"method.embed_dim": 128}
    | MOCO_V2_VIEWS
    | sgd(0.03, 0.03, 1e-4)
    | schedule("cosine_by_epoch", first_epoch=0),
    # Chen & He 2021, appendix D
    "simsiam_cifar10": run(800, 512)
    | WHOLE
    | FLOAT32
    | R18_CIFAR
    | ZERO_INIT
    | SIMSIAM
    | {"method.projector.num_layers": 2}
    | CIFAR_VIEWS
    | {"augmentation.crop_scale": [0.2, 1.0]}
    | sgd(0.03, 0.06, 5e-4)
    | schedule("cosine_by_epoch", first_epoch=0),
    # Chen & He 2021, sec. 3; README of the code: --fix-pred-lr, --lr 0.05, batch 512
    "simsiam_imagenet": run(100, 512)
    | WHOLE
    | FLOAT32
    | R50
    | ZERO_INIT
    | SIMSIAM
    | {"method.projector.num_layers": 3}
    | MOCO_V2_VIEWS
    | sgd(0.05, 0.1, 1e-4)
    | schedule("cosine_by_epoch", first_epoch=0),
    # Grill et al. 2020, sec. 5 and F; byol/configs/byol.py at 300 epochs, utils/augmentations.py
    # and utils/dataset.py
    "byol_imagenet": run(300, 4096)
    | WHOLE
    | R50
    | ZERO_INIT
    | head("projector", hidden_dim=4096, out_dim=256, hidden_bias=True, out_bias=False)
    | head("predictor", hidden_dim=4096, hidden_bias=True, out_bias=False)
    | flat("method", momentum=0.99, final_momentum=1.0, symmetric=True, loss_weight=1.0)
    | views(0.08, SIMCLR_ORDER, "bicubic", flip=0.5, blur_sigma=[0.1, 2.0])
    | jitter(0.4, 0.4, 0.2, 0.1)
    | TENSORFLOWS
    | flat("augmentation", crop_form="clip", brightness_form="add", blur_padding="zero")
    | {"augmentation.views": [{"blur": 1.0, "solarize": 0.0}, {"blur": 0.1, "solarize": 0.2}]}
    | {"augmentation.solarize_threshold": 0.5}
    | lars(0.3, 4.8, 1e-6, inside=False)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0),
    # lightly's CIFAR-10 benchmark (widths) and MoCo's notebook
    "byol_cifar10": run(200, 512)
    | NOTEBOOK
    | R18_CIFAR
    | head("projector", hidden_dim=1024, out_dim=256)
    | head("predictor", hidden_dim=1024)
    | flat("method", embed_dim=256, hidden_dim=1024, predictor_dim=1024, momentum=0.99)
    | {"method.final_momentum": 1.0}  # not the notebook's, says the header; likewise the next ones
    | CIFAR_VIEWS
    | sgd(0.03, 0.06, 5e-4, decays_all=False)
    | schedule("warmup_cosine", warmup_epochs=10.0),
    # Wu et al. 2018, sec. 4.1; cifar.py and README of lemniscate.pytorch: --nce-k 0 --nce-t 0.1
    "instdisc_cifar10": run(200, 128)
    | WHOLE
    | FLOAT32
    | NOTEBOOK
    | R18_CIFAR
    | NO_ZERO_INIT
    | LINEAR_HEAD
    | flat("method", temperature=0.1, num_negatives=None, bank_momentum=0.5, proximal_weight=0.0)
    | {"method.loss._target_": "ssl_zoo.losses.InfoNCE"}
    | MOCO_V1_VIEWS
    | {"augmentation.order": ["crop", "jitter", "grayscale"]}
    | sgd(0.03, 0.03, 5e-4)
    | {"optimizer.lr_rule": "none"}
    | STEPS_200,
    # Wu et al. 2018; main.py of lemniscate.pytorch
    "instdisc_imagenet": run(200, 256)
    | WHOLE
    | FLOAT32
    | R50
    | NO_ZERO_INIT
    | LINEAR_HEAD
    | flat("method", temperature=0.07, num_negatives=4096, bank_momentum=0.5)
    | {"method.loss._target_": "ssl_zoo.losses.NCE", "method.loss.z": "code"}
    | MOCO_V1_VIEWS
    | sgd(0.03, 0.03, 1e-4)
    | STEPS_200,
    # Musgrave et al. 2020; powerful-benchmarker, branch metric-learning
    "metric_learning_mlrc": run(100, 32)  # the paper: until val no longer rises
    | flat("dataset", class_split="contiguous", image_size=227)
    | flat("method", embed_dim=128, images_per_class=4, freeze_batchnorm=True)
    | flat("method.loss_optimizer", _target_="torch.optim.RMSprop", momentum=0.9)
    | {"method.loss_lr": 1e-3}  # searched in the paper, between 1e-6 and 1
    | {"backbone.weights": "DEFAULT", "monitor.every_n_epochs": 2}
    | flat("augmentation", size=227, order=["crop", "flip"], crop_scale=[0.16, 1.0])
    | flat("optimizer", lr=1e-6, weight_decay=1e-4, momentum=0.9, exclude_bias_and_norm=False)
    | {"scheduler._target_": "ssl_zoo.optim.constant"},
    # Zbontar et al. 2021; main.py of facebookresearch/barlowtwins and its README
    "barlow_twins_imagenet": run(1000, 2048)
    | WHOLE
    | R50
    | ZERO_INIT
    | head("projector", hidden_dim=8192, out_dim=8192, num_layers=3, hidden_bias=None)
    | head("projector", hidden_norm=True, out_norm="none", out_bias=False)
    | head("loss", off_diagonal=0.0051, eps=1e-5)
    | flat("method", embed_dim=8192, hidden_dim=8192, loss_weight=1.0)
    | BYOL_VIEWS
    | lars(0.2, 1.6, 1e-6, inside=False)
    | {"optimizer.bias_and_norm_lr_multiplier": 0.0015}  # 0.0048 / 0.2 / 16, says the header
    | schedule("warmup_cosine", warmup_epochs=10, final=0.001),
    # solo-learn, scripts/pretrain/cifar/barlow.yaml and augmentations/asymmetric.yaml
    "barlow_twins_cifar10": run(1000, 256)
    | WHOLE
    | SOLO_PIXELS
    | R18_CIFAR
    | NO_ZERO_INIT
    | head("projector", hidden_dim=2048, out_dim=2048, num_layers=3, hidden_bias=True)
    | head("projector", hidden_norm=True, out_norm="none", out_bias=True)
    | head("loss", off_diagonal=0.0051)
    | flat("method", embed_dim=2048, hidden_dim=2048, loss_weight=0.1)
    | BYOL_VIEWS
    | {"augmentation.blur": 0.0, "augmentation.views": [{"solarize": 0.0}, {"solarize": 0.2}]}
    | solo_lars(0.3, 1e-4)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0),
    # Bardes et al. 2022; main_vicreg.py of facebookresearch/vicreg
    "vicreg_imagenet": run(1000, 2048)
    | WHOLE
    | R50
    | ZERO_INIT
    | head("projector", hidden_dim=8192, out_dim=8192, num_layers=3, hidden_bias=True)
    | head("projector", hidden_norm=True, out_norm="none", out_bias=False)
    | head("loss", invariance=25.0, variance=25.0, covariance=1.0, eps=1e-4)
    | flat("method", embed_dim=8192, hidden_dim=8192)
    | BYOL_VIEWS
    | lars(0.2, 1.6, 1e-6, inside=False)
    | {"optimizer.bias_and_norm_lr_multiplier": 1.0}
    | schedule("warmup_cosine", warmup_epochs=10, final=0.001),
    # solo-learn, scripts/pretrain/cifar/vicreg.yaml; its variance term is not halved
    "vicreg_cifar10": run(1000, 256)
    | WHOLE
    | SOLO_PIXELS
    | R18_CIFAR
    | NO_ZERO_INIT
    | head("projector", hidden_dim=2048, out_dim=2048, num_layers=3, hidden_bias=True)
    | head("projector", hidden_norm=True, out_norm="none", out_bias=True)
    | flat("method", embed_dim=2048, hidden_dim=2048, invariance=25.0, variance=50.0)
    | flat("method", covariance=1.0, loss_weight=1.0)
    | BYOL_VIEWS
    | flat("augmentation", crop_scale=[0.2, 1.0], blur=0.0, solarize=0.1, views=[])
    | solo_lars(0.3, 1e-4)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0),
    # facebookresearch/eb_jepa, examples/image_jepa/cfgs/sigreg.yaml; lambda of lejepa's MINIMAL.md
    "lejepa_cifar10": run(300, 256)
    | WHOLE
    | R18_CIFAR
    | NO_ZERO_INIT
    | EB_JEPA
    | {"augmentation.small.count": 0},
    # the same with the small views of facebookresearch/suncet, src/data_manager.py
    "lejepa_multi_crop_cifar10": run(300, 256)
    | WHOLE
    | R18_CIFAR
    | NO_ZERO_INIT
    | EB_JEPA
    | flat("augmentation.small", count=6, size=18, crop_scale=[0.3, 0.75]),
    # rbalestr-lab/lejepa, README
    "lejepa_imagenet": run(100, 512)
    | WHOLE
    | R50
    | NO_ZERO_INIT
    | head("projector", hidden_dim=2048, out_dim=512, num_layers=3, hidden_norm=True)
    | flat("method", embed_dim=512, sigreg_weight=0.05)
    | head("loss", num_slices=1024, num_global=None, t_max=3.0, num_points=17)
    | BYOL_VIEWS
    | flat("augmentation", crop_scale=[0.3, 1.0], interpolation="bilinear", views=[])
    | flat("augmentation", blur=0.5, solarize=0.2)
    | flat("optimizer", base_lr=5e-4, lr=5e-4, weight_decay=5e-4)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.001),
    # Chen et al. 2021; CONFIG.md, main_moco.py and builder.py of facebookresearch/moco-v3
    "mocov3_imagenet": run(100, 4096)
    | WHOLE
    | R50
    | ZERO_INIT
    | MOCO_V3
    | flat("method", temperature=1.0, momentum=0.99, loss_weight=1.0)
    | BYOL_VIEWS
    | flat("augmentation", crop_scale=[0.2, 1.0], interpolation="bilinear")
    | {"augmentation.order": [*AUG_PLUS_ORDER[:-1], "solarize", "flip"]}
    | lars(0.6, 9.6, 1e-6, inside=False)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0),
    # solo-learn, scripts/pretrain/cifar/mocov3.yaml
    "mocov3_cifar10": run(1000, 256)
    | WHOLE
    | SOLO_PIXELS
    | R18_CIFAR
    | NO_ZERO_INIT
    | MOCO_V3
    | flat("method", temperature=0.2, momentum=0.99, loss_weight=1.0)
    | SOLO_ASYMMETRIC
    | solo_lars(0.3, 1e-6)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0),
    # Dwibedi et al. 2021, by memory
    "nnclr_imagenet": run(1000, 4096)
    | WHOLE
    | R50
    | NO_ZERO_INIT
    | NNCLR_HEADS
    | flat("method", temperature=0.1, queue_size=98304, loss_weight=1.0)
    | views(0.08, SIMCLR_ORDER, "bicubic", flip=0.5, blur=0.5, blur_sigma=[0.1, 2.0])
    | jitter(0.8, 0.8, 0.8, 0.2)
    | TORCHVISIONS
    | lars(0.3, 4.8, 1e-6, inside=True)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0),
    # solo-learn, scripts/pretrain/cifar/nnclr.yaml
    "nnclr_cifar10": run(1000, 256)
    | WHOLE
    | SOLO_PIXELS
    | R18_CIFAR
    | NO_ZERO_INIT
    | NNCLR_HEADS
    | head("projector", hidden_bias=True, out_bias=True)
    | head("predictor", hidden_bias=True)
    | flat("method", temperature=0.2, queue_size=65536, loss_weight=1.0)
    | SOLO_ASYMMETRIC
    | solo_lars(0.4, 1e-5)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0),
    # Khosla et al. 2020; README, main_supcon.py and util.py of HobbitLong/SupContrast
    "supcon_cifar10": run(1000, 1024)
    | WHOLE
    | FLOAT32
    | NOTEBOOK
    | flat("backbone", name="resnet50", stem="cifar")
    | NO_ZERO_INIT
    | SUPCON
    | CIFAR_VIEWS
    | {"augmentation.crop_scale": [0.2, 1.0]}
    | sgd(0.125, 0.5, 1e-4)
    | SUPCON_RATES,
    # the same on images of 224 pixels
    "supcon_imagenet": run(200, 1024)
    | WHOLE
    | FLOAT32
    | R50
    | NO_ZERO_INIT
    | SUPCON
    | CIFAR_VIEWS
    | {"augmentation.crop_scale": [0.2, 1.0]}
    | sgd(0.125, 0.5, 1e-4)
    | SUPCON_RATES,
    # the same README: two global and six local views
    "lejepa_multi_crop_imagenet": run(100, 512)
    | WHOLE
    | R50
    | NO_ZERO_INIT
    | head("projector", hidden_dim=2048, out_dim=512, num_layers=3, hidden_norm=True)
    | flat("method", embed_dim=512, sigreg_weight=0.05)
    | head("loss", num_slices=1024, num_global=None, t_max=3.0, num_points=17)
    | BYOL_VIEWS
    | flat("augmentation", crop_scale=[0.3, 1.0], interpolation="bilinear", views=[])
    | flat("augmentation", blur=0.5, solarize=0.2)
    | flat("augmentation.small", count=6, size=98, crop_scale=[0.05, 0.3])
    | flat("optimizer", base_lr=5e-4, lr=5e-4, weight_decay=5e-4)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.001),
    # facebookresearch/swav, scripts/swav_800ep_pretrain.sh and main_swav.py
    "swav_imagenet": run(800, 4096)
    | WHOLE
    | R50
    | NO_ZERO_INIT
    | flat("dataset", mean=[0.485, 0.456, 0.406], std=[0.228, 0.224, 0.225])
    | SWAV
    | flat("method", frozen_epochs=1, queue_size=0)
    | views(0.14, SIMCLR_ORDER, "bilinear", flip=0.5, blur=0.5, blur_sigma=[0.1, 2.0])
    | jitter(0.8, 0.8, 0.8, 0.2)
    | TORCHVISIONS
    | flat("augmentation", num_views=2, solarize=0.0, views=[])
    | flat("augmentation.small", count=6, size=96, crop_scale=[0.05, 0.14])
    | lars(0.3, 4.8, 1e-6, inside=False)
    | flat("optimizer", trust="separate", clip=False, exclude_bias_and_norm=False)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.001),
    # solo-learn, scripts/pretrain/cifar/swav.yaml and augmentations/symmetric.yaml
    "swav_cifar10": run(1000, 256)
    | WHOLE
    | SOLO_PIXELS
    | R18_CIFAR
    | NO_ZERO_INIT
    | SWAV
    | flat("method", frozen_epochs=2, queue_size=3840, queue_start_epoch=50)
    | views(0.08, SIMCLR_ORDER, "bicubic", flip=0.5, blur=0.5, blur_sigma=[0.1, 2.0])
    | jitter(0.8, 0.8, 0.8, 0.2)
    | TORCHVISIONS
    | flat("augmentation", num_views=2, solarize=0.0, views=[])
    | {"augmentation.small.count": 0}
    | solo_lars(0.6, 1e-6)
    | schedule("warmup_cosine", warmup_epochs=10, final=0.0),
    # a course project (docs/ablations.md), and the code that it began with
    "simclr_losses_cifar10": run(80, 128)
    | flat("backbone", name="resnet50", stem="cifar")
    | flat("optimizer", base_lr=3e-4, lr=3e-4, weight_decay=1e-5)
    | {"augmentation.blur": 0.0},
}


def test_every_recipe_is_published_or_our_own() -> None:
    files = {path.stem for path in FOLDER.glob("*.yaml")}
    assert files == RECIPES.keys() | OWN
    assert not RECIPES.keys() & OWN


def value(cfg: DictConfig, key: str) -> Any:
    found = OmegaConf.select(cfg, key, throw_on_missing=True)
    return OmegaConf.to_object(found) if OmegaConf.is_config(found) else found


@pytest.mark.parametrize("name", every(4, RECIPES))
def test_a_recipe_is_what_is_published(make_config: Make, name: str) -> None:
    cfg = make_config(f"experiment={name}", "dataset.root=x", "name=test", tiny=False)
    assert {key: value(cfg, key) for key in RECIPES[name]} == RECIPES[name]


def leaves(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    return [leaf for name, child in node.items() for leaf in leaves(child, f"{prefix}.{name}")]


@pytest.mark.parametrize("name", RECIPES)
def test_no_number_of_a_file_is_left_out(name: str) -> None:
    register_resolvers()
    content: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    del content["defaults"]
    content.get("dataset", {}).pop("root", None)
    stated = {leaf.removeprefix(".") for leaf in leaves(content)}
    assert stated - RECIPES[name].keys() == set()


# --- headers --------------------------------------------------------------------------------------

PUBLISHED_KNN = {"moco_cifar10": 0.1, "instdisc_cifar10": 0.1, "instdisc_imagenet": 0.07}


def header(name: str) -> str:
    lines = (FOLDER / f"{name}.yaml").read_text().split("defaults:")[0].splitlines()
    return "\n".join(line.removeprefix("#").strip() for line in lines)


def commands(name: str, program: str) -> list[list[str]]:
    found = re.findall(rf"^python {program}\.py (.*)$", header(name), re.M)
    return [line.replace("DIR", "x").replace("RUN", "x").split() for line in found]


def test_a_header_says_what_was_not_run() -> None:
    for name in RECIPES:
        assert re.search(r"Not run\s+here", header(name)), name
        assert commands(name, "train"), name


@pytest.mark.parametrize("name", only(["moco_cifar10"], RECIPES))
def test_the_commands_of_a_header(make_config: Make, name: str) -> None:
    for overrides in commands(name, "train"):
        if "-m" in overrides:
            continue
        cfg = make_config(*overrides, "name=test", tiny=False)
        groups = [o.split("=")[0] for o in overrides if (FOLDER.parent / o.split("=")[0]).is_dir()]
        check_overrides(cfg, overrides, groups, TRAIN_ROOTS)
    for overrides in commands(name, "evaluate"):
        check_overrides(composed(*overrides), overrides, ["protocol"], EVALUATE_ROOTS)


@pytest.mark.parametrize("name", PUBLISHED_KNN)
def test_a_knn_figure_has_its_protocol_beside_it(name: str) -> None:
    (overrides,) = commands(name, "evaluate")
    cfg = composed(*overrides)
    assert (cfg.features, list(cfg.protocol)) == ("embedding", ["knn"])
    assert (cfg.protocol.knn.k, cfg.protocol.knn.temperature) == (200, PUBLISHED_KNN[name])
    instantiate(cfg.protocol.knn)  # k is among ks


@pytest.mark.parametrize(
    ("name", "protocol"),
    [(name, "moco") for name in ("moco_imagenet", "mocov2_imagenet")]
    + [(name, "simsiam") for name in ("simsiam_imagenet", "simsiam_cifar10")],
)
def test_a_linear_figure_has_its_protocol_beside_it(name: str, protocol: str) -> None:
    assert commands(name, "evaluate") == [["ckpt=x", f"protocol=linear_augmented_{protocol}"]]


# --- lengths --------------------------------------------------------------------------------------


def test_simclrs_steps_and_warm_up(make_config: Make) -> None:
    """97,656 steps of 512 images in epochs of 97, and the code's 976 steps of warm-up."""
    cfg = make_config("experiment=simclr_cifar10", "dataset.root=x", "name=test", tiny=False)
    trainer: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    assert count_steps(50_000 // cfg.batch_size, trainer) == (97, 97_656)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    factor = instantiate(cfg.scheduler)(optimizer, total_steps=97_656).lr_lambdas[0]
    assert factor(975) == pytest.approx(975 / 976)
    assert factor(976) == 1.0 > factor(977) > 0.999999
    assert factor(97_656) == pytest.approx(0, abs=1e-12)
