"""Protocols as the configs build them, and small candidates to score."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from helpers.programs import composed
from ssl_zoo.backbones import ConvNet
from ssl_zoo.config import instantiate
from ssl_zoo.data import Augmentation, DataModule, Preprocess
from ssl_zoo.data.images import Splits, TensorImages
from ssl_zoo.evaluation.features import Features
from ssl_zoo.protocols.candidate import Candidate, Encoded, SplitFeatures


def protocol(name: str, **knobs: Any) -> Any:
    """What conf/protocol/<name>.yaml makes, with some knobs set."""
    cfg = composed("ckpt=random", f"protocol={name}")
    cfg.protocol[name] = OmegaConf.merge(cfg.protocol[name], knobs)
    return instantiate(cfg.protocol[name])


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return ConvNet((8, 16), (2, 2)).eval()


def colours(count: int, seed: int) -> TensorImages:
    """Images of noise about a colour for each of 5 classes, which crops keep."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randint(60, 190, (5, 3, 1, 1), generator=torch.Generator().manual_seed(4))
    labels = torch.arange(count) % 5
    noise = torch.randint(-60, 61, (count, 3, 16, 16), generator=generator)
    return TensorImages((base[labels] + noise).to(torch.uint8), labels)


def small_candidate(backbone: nn.Module | None = None, **fields: Any) -> Candidate:
    """Colours at 16 pixels: 160 images to train on, 40 of val, 60 of test."""
    splits = Splits(colours(200, 0), colours(60, 1), list("abcde"))
    data = DataModule(splits, Augmentation, val_fraction=0.2, num_workers=0)
    preprocess = Preprocess(16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    fields = {"seed": 0, "device": torch.device("cpu"), **fields}
    fields = {"make_data": lambda: data, **fields}
    return Candidate("pretrained", backbone or small_net(), preprocess, **fields)


def planted(train: Features, val: Features, test: Features, num_classes: int) -> Candidate:
    """A candidate whose features are given; its images are not looked at."""
    candidate = small_candidate(encoded=Encoded(SplitFeatures(train, val, test)))
    candidate.data.num_classes = candidate.data.num_train_classes = num_classes
    return candidate


def noisy(seed: int, shared: bool) -> Features:
    """(class + noise, noise): a head that trains for long learns to subtract the shared noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(400) % 2
    noise, other = torch.randn(2, 400, generator=generator)
    return Features(torch.stack([2 * y + 2 * noise, noise if shared else 3 * other], dim=1), y)
