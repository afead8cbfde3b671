"""Protocols on one or several backbones, beside random weights and raw pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything

from ssl_zoo.checkpoints import Source, open_source
from ssl_zoo.config import instantiate, to_plain
from ssl_zoo.console import info, quiet_lightning
from ssl_zoo.data import DataModule
from ssl_zoo.protocols.runner.candidates import FLOORS, subjects
from ssl_zoo.protocols.runner.results import Results
from ssl_zoo.protocols.runner.saved import other_dataset, saved_data
from ssl_zoo.types import UserError


def run(cfg: DictConfig) -> dict[str, Any]:
    """Score `ckpt` by each protocol; print a table and write RUN/evaluation/<protocol>.json.

    Args:
        cfg: As composed from conf/evaluate.yaml.

    Returns:
        By protocol, what its file holds.

    Raises:
        UserError: If a checkpoint, the data or a protocol do not fit.
    """
    quiet_lightning()
    config = to_plain(cfg)
    if not config.get("protocol"):
        raise UserError("protocol=[]: give a protocol, or a list of them")
    seed_everything(config["seed"], workers=False, verbose=False)
    sources = [open_source(ckpt, config["features"]) for ckpt in _as_list(config["ckpt"])]
    config |= saved_data(config, sources[0])
    make_data = _data_module(config, sources[0])
    protocols = {
        name: instantiate(OmegaConf.create({"protocol": config["protocol"]}).protocol[name])
        for name in config["protocol"]
    }
    for name, protocol in protocols.items():
        _check_data(name, protocol.needs, sources[0], make_data)

    results = Results(config, sources, make_data)
    for i, task in enumerate(subjects(config, sources, make_data)):
        chosen = {
            name: protocol
            for name, protocol in protocols.items()
            if i == 0 or task.name not in FLOORS or task.name in protocol.baselines
        }
        for name, protocol in chosen.items():
            task.folder, task.suffix = results.folder, results.suffix
            task.figure_stem = results.figures(name) if i == 0 else None
            results.add(name, protocol, task, protocol.score(task))
        if task.num_encoded:
            info(f"{task.name}: {task.num_encoded} images encoded, for {', '.join(chosen)}")
    results.report(protocols)
    return results.written


def _as_list(ckpt: Any) -> list[str]:
    if not ckpt:
        raise UserError(f"ckpt={ckpt}: give a run folder, a file, or a list of them")
    return [str(one) for one in ckpt] if isinstance(ckpt, list) else [str(ckpt)]


def _data_module(config: dict[str, Any], source: Source) -> Callable[[], DataModule]:
    """What builds the data module, once, when a protocol first asks for it."""
    size = source.pretrained.preprocess.image_size if source.pretrained else None
    wiring = config["data"] | {"image_size": config["data"]["image_size"] or size}

    @cache
    def make() -> DataModule:
        data: DataModule = instantiate(OmegaConf.create({**config, "data": wiring}).data)
        return data

    return make


def _check_data(name: str, needs: str, source: Source, make_data: Callable[[], DataModule]) -> None:
    """Refuse data that a protocol cannot score, before anything is encoded.

    Raises:
        UserError: Naming what is missing.
    """
    if needs == "nothing":
        return
    if source.pretrained is not None and source.extras is None and not other_dataset():
        raise UserError(f"ckpt={source.ckpt} brings no data set: give dataset=NAME")
    if needs == "images":
        return
    data = make_data()
    if data.num_classes == 0:
        raise UserError(f"this data set has no labels: protocol={name} needs them")
    if needs == "labels":
        return
    if len(data.val) == 0:
        raise UserError("no image is held out for validation: raise dataset.val_fraction")
    data.test_dataloader()  # says what to do where there is none
    if data.class_split is not None:
        raise UserError(
            f"dataset.class_split makes test classes that train lacks, and protocol={name} learns "
            "train's: use protocol=retrieval, or dataset.class_split=null"
        )
