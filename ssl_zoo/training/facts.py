"""What a run says about itself: a line at its start, one when its parts are built; result.json.

Imports no torch, since the first line comes before it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssl_zoo.run_folder import RunFolder

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from ssl_zoo.data import DataModule
    from ssl_zoo.methods import Method

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # as launchers say them, before torch does


def say_start(cfg: Mapping[str, Any]) -> None:
    """Say what is about to run, within the first seconds of a process."""
    if all(os.environ.get(name, "0") == "0" for name in _RANKS):
        logging.getLogger("ssl_zoo").info(start_line(cfg))


def start_line(cfg: Mapping[str, Any]) -> str:
    """The method, the data set and the folder of a run.

    Args:
        cfg: As composed from conf/train.yaml; where it resumes a run, that one's config counts.
    """
    where = f"in {cfg['run_dir']}"
    if cfg["resume"]:
        folder = RunFolder(str(cfg["resume"]))
        if not folder.config.is_file():  # refused later, by name
            return f"resuming {folder}"
        cfg, where = folder.read_config(), f"resumed in {folder}"
    elif cfg.get("dry_run"):
        where += ", which a dry run does not make"
    method = str(cfg["method"]["module"].get("_target_", "?")).rpartition(".")[2]
    return f"{method} on {cfg['dataset']['name']}, {where}"


def run_facts(
    data: DataModule, method: Method, trainer: Trainer, folder: RunFolder
) -> dict[str, Any]:
    """What was read and where it is trained; plain data, kept in result.json."""
    from ssl_zoo.data.facts import data_facts
    from ssl_zoo.hardware import device_name

    trained = [p for p in method.parameters() if p.requires_grad]
    return {
        **data_facts(data),
        "device": device_name(trainer.strategy.root_device),
        "processes": trainer.world_size,
        "precision": trainer.precision,
        "parameters": sum(p.numel() for p in trained),
        "backbone_parameters": sum(p.numel() for p in method.encoder.backbone.parameters()),
        "folder": str(folder),
    }


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
            f"in {facts['folder']}",
        ]
    )


def _short(count: int) -> str:
    return f"{count:,}" if count < 100_000 else f"{count / 1e6:.1f} million"
