"""Protocols on one or several backbones, with random weights and raw pixels for comparison."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything

from ssl_zoo.checkpoints import Source, hints_of, open_source
from ssl_zoo.config import instantiate, to_plain
from ssl_zoo.console import info, quiet_lightning, warn
from ssl_zoo.data import DataModule
from ssl_zoo.data.facts import data_facts, images_in_words, input_in_words
from ssl_zoo.hardware import default_device, device_name, has_native_bf16
from ssl_zoo.protocols.base import FLOORS, Protocol
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.runner.candidates import candidates
from ssl_zoo.protocols.runner.results import Results, data_of
from ssl_zoo.protocols.runner.saved import is_saved, settled
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.types import BadValue, UserError


def run(cfg: DictConfig) -> dict[str, Any]:
    """Score `ckpt` by each protocol; print a table and write RUN/evaluation/<protocol>.json.

    Args:
        cfg: As composed from conf/evaluate.yaml; nothing else decides what is done.

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
    hints = hints_of(config)
    sources = [open_source(ckpt, config["features"], hints) for ckpt in _as_list(config["ckpt"])]
    for source in sources:
        path = Path(source.ckpt).expanduser()
        run = path if path.is_dir() else path.parent.parent
        if unfinished := RunFolder(run).unfinished():
            warn(unfinished)
    own = is_saved(config["dataset"])
    config = settled(cfg, sources[0])
    make_data = _data_module(config, sources[0])
    protocols = {name: _build(name, config["protocol"]) for name in config["protocol"]}
    for name, protocol in protocols.items():
        _check_trainable(name, protocol, sources)
        _check(name, protocol, make_data)

    results = Results(config, sources, make_data, own)
    for i, candidate in enumerate(candidates(config, sources, make_data)):
        chosen = [name for name, p in protocols.items() if i == 0 or _takes(p, candidate)]
        for name in chosen:
            row = results.placed(candidate, name, pictures=i == 0)
            results.add(name, protocols[name], row, _scores(name, protocols[name], row))
        if candidate.num_encoded:
            encoded = f"{candidate.num_encoded} images encoded"
            info(f"{candidate.name}: {encoded}, for {', '.join(chosen)}")
    results.report(protocols)
    return results.written


def _as_list(ckpt: Any) -> list[str]:
    if not ckpt:
        raise UserError(f"ckpt={ckpt}: give a run folder, a file, or a list of them")
    return [str(one) for one in ckpt] if isinstance(ckpt, list) else [str(ckpt)]


def _data_module(config: dict[str, Any], source: Source) -> Callable[[], DataModule]:
    """A function that builds the data module once, when a protocol first needs it."""
    size = source.pretrained.preprocess.image_size if source.pretrained else None
    wiring = config["data"] | {"image_size": config["data"]["image_size"] or size}

    @cache
    def make() -> DataModule:
        if is_saved(config["dataset"]):
            raise UserError(f"ckpt={source.ckpt} brings no data set: give dataset=NAME")
        data: DataModule = instantiate(OmegaConf.create({**config, "data": wiring}).data)
        info(_read(data, source))
        return data

    return make


def _read(data: DataModule, source: Source) -> str:
    """What is scored, and how an image comes to the backbone."""
    facts = data_facts(data)
    if source.pretrained is not None:  # its own statistics, which the data set's do not replace
        facts["statistics"] = "the checkpoint's"
    facts["view_size"] = facts["input_size"]  # nothing is trained on the views
    device = default_device()
    encoded = "bfloat16" if has_native_bf16(device) else "float32"
    where = f"encoded on {device_name(device)} in {encoded}"
    return f"{images_in_words(facts)}; {input_in_words(facts)}; {where}"


def _build(name: str, settings: dict[str, Any]) -> Protocol:
    if not isinstance(settings.get(name), dict):
        raise UserError(
            f"protocol.{name}={settings.get(name)} is not a protocol: its file must begin with the "
            "line `# @package protocol.NAME`, NAME being the file's"
        )
    protocol = instantiate(OmegaConf.create({"protocol": settings}).protocol[name])
    if not isinstance(protocol, Protocol):
        raise UserError(
            f"protocol={name}: its _target_ makes a {type(protocol).__name__}, which is not an "
            "ssl_zoo.protocols.Protocol"
        )
    return protocol


def _check_trainable(name: str, protocol: Protocol, sources: list[Source]) -> None:
    """Refuse a program, which has no weights to train, before anything is read or encoded."""
    programs = [s.ckpt for s in sources if s.pretrained is not None and s.pretrained.config is None]
    if programs and protocol.trains_backbone:
        raise UserError(
            f"protocol={name} trains the backbone, and {programs[0]} is a program (ONNX or "
            "TorchScript), whose weights are fixed: give the run or the file that it was made from"
        )


def _check(name: str, protocol: Protocol, make_data: Callable[[], DataModule]) -> None:
    """Refuse data that a protocol cannot score, before anything is encoded."""
    data = data_of(protocol, make_data)
    try:
        protocol.check(data)
    except BadValue:  # the knob's name will show whose it is
        raise
    except UserError as error:
        raise UserError(f"protocol={name}: {error}") from error


def _scores(name: str, protocol: Protocol, row: Candidate) -> dict[str, Any]:
    """What a protocol makes of a row, with its headline.

    Raises:
        UserError: If that is missing.
    """
    scores = protocol.score(row)
    if not isinstance(scores, dict) or protocol.headline not in scores:
        raise UserError(
            f"protocol={name}: score returned {scores!r:.80}, without its headline "
            f"{protocol.headline}: return a dict that has it"
        )
    plain = {column: _plain(value) for column, value in scores.items()}
    for column, value in plain.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"protocol={name}: score returned {column} of type {type(value).__name__}, which "
                "JSON does not hold: return numbers, texts, lists or dicts of these"
            ) from error
    if not isinstance(plain[protocol.headline], int | float | None):
        raise UserError(
            f"protocol={name}: its headline {protocol.headline} is "
            f"{plain[protocol.headline]!r:.40}: return a number"
        )
    return plain


def _plain(value: Any) -> Any:
    """A numpy or torch scalar as Python's number."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _takes(protocol: Protocol, candidate: Candidate) -> bool:
    """Whether a protocol scores a row; not all protocols have all floors."""
    return candidate.name not in FLOORS or candidate.name in protocol.floors
