"""What a run says about itself: a line at its start, one when its parts are built; result.json.

Imports no torch, since the first line comes before it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.launched import is_rank_zero
from ssl_zoo.provenance import code_version, library_versions, sha_of

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from ssl_zoo.data import DataModule
    from ssl_zoo.methods import Method
    from ssl_zoo.training.steps import Rhythm


_NAMED = ("method.module._target_", "dataset.name")  # None in the config of an earlier version


def say_start(cfg: DictConfig | dict[str, Any], where: str) -> None:
    """Say what is about to run, within the first seconds of a process.

    Args:
        cfg: As composed from conf/train.yaml, or saved with a run.
        where: Of its folder, in words.
    """
    if is_rank_zero():
        node = OmegaConf.create(cfg) if isinstance(cfg, dict) else cfg
        method, name = (OmegaConf.select(node, key) for key in _NAMED)
        method = str(method).rpartition(".")[2]
        logging.getLogger("ssl_zoo").info("%s on %s, %s", method, name, where)


def run_facts(data: DataModule, method: Method, trainer: Trainer, folder: str) -> dict[str, Any]:
    """What was read and where it is trained; plain data, kept in result.json."""
    from ssl_zoo.data.facts import data_facts
    from ssl_zoo.hardware import device_name

    trained = [p for p in method.parameters() if p.requires_grad]
    weight = {} if method.loss_weight == 1 else {"loss_weight": method.loss_weight}
    return {
        **data_facts(data),
        **weight,
        "device": device_name(trainer.strategy.root_device),
        "processes": trainer.world_size,
        "precision": trainer.precision,
        "parameters": sum(p.numel() for p in trained),
        "backbone_parameters": sum(p.numel() for p in method.encoder.backbone.parameters()),
        "folder": folder,
        "code": code_version(),
        "versions": library_versions(),
        "data_sha": sha_of(data.fingerprint),
    }


def end_facts(facts: Mapping[str, Any], steps: int, rhythm: Rhythm) -> dict[str, Any]:
    """What a run had done at its end.

    Args:
        facts: Of its start, with the sides of an image's views.
        steps: Optimizer steps done.
        rhythm: How they lie in the epochs.
    """
    images = rhythm.images_seen(steps - 1) if steps else 0
    sides = facts.get("view_sides", [])
    return {
        "steps": steps,
        "epochs": -(-steps // rhythm.steps),
        "images_seen": images,
        "views_seen": images * len(sides),
        "pixels_seen": images * sum(side * side for side in sides),
    }


def of_summary(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What of `run_facts` a dashboard lists beside a run's scores."""
    names = ("parameters", "backbone_parameters", "images", "classes", "device", "precision")
    return {name: facts[name] for name in names}


def in_words(facts: Mapping[str, Any]) -> str:
    """`run_facts` as one line."""
    from ssl_zoo.data.facts import images_in_words, input_in_words

    several = f"{facts['processes']} x " if facts["processes"] > 1 else ""
    parameters, backbone = _short(facts["parameters"]), _short(facts["backbone_parameters"])
    return "; ".join(
        [
            images_in_words(facts),
            input_in_words(facts),
            f"{several}{facts['device']}, {facts['precision']}",
            f"{parameters} parameters, {backbone} of them the backbone's",
            *([f"loss times {facts['loss_weight']:g}"] if "loss_weight" in facts else []),
            f"in {facts['folder']}",
        ]
    )


def _short(count: int) -> str:
    return f"{count:,}" if count < 100_000 else f"{count / 1e6:.1f} million"
