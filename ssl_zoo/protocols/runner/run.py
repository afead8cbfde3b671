"""Protocols on one or several backbones, with random weights and raw pixels for comparison."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything

from ssl_zoo.checkpoints import Source, hints_of, open_source
from ssl_zoo.checkpoints.preparation import PREPARATION, Preparation, prepare
from ssl_zoo.config import instantiate, to_plain
from ssl_zoo.console import info, quiet_lightning, warn
from ssl_zoo.data import DataModule
from ssl_zoo.data.facts import data_facts, images_in_words, input_in_words
from ssl_zoo.data.fingerprint import split_changes
from ssl_zoo.hardware import default_device, device_name, has_native_bf16, resolve_precision
from ssl_zoo.protocols.base import FLOORS, RANDOM_INIT, Protocol
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.runner.candidates import candidates, row_names
from ssl_zoo.protocols.runner.logged import Log
from ssl_zoo.protocols.runner.results import Results, encoded_in, result_folder
from ssl_zoo.protocols.runner.saved import given_preparation, is_saved, settled
from ssl_zoo.protocols.runner.settings import report_settings, run_of
from ssl_zoo.protocols.runner.sweep import runs_of, score_each
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.sealing import check_sealed
from ssl_zoo.types import BadValue, UserError


def run(cfg: DictConfig) -> dict[str, Any]:
    """Score `ckpt` by each protocol; print a table and write RUN/evaluation/<protocol>.json.

    Args:
        cfg: As composed from conf/evaluate.yaml; nothing else decides what is done.

    Returns:
        By protocol, what its file holds; for a sweep's folder, the sweep's file.

    Raises:
        UserError: If a checkpoint, the data or a protocol do not fit.
    """
    quiet_lightning()
    config = to_plain(cfg)
    if not config.get("protocol"):
        raise UserError("protocol=[]: give a protocol, or a list of them")
    ckpts, log = _as_list(config["ckpt"]), Log(cfg)
    for ckpt in ckpts:
        check_sealed(Path(ckpt))
    if (sweep := runs_of(ckpts)) is not None:
        with log.opened(_placed(config, RunFolder(sweep.folder).evaluation), ckpts):
            written = score_each(cfg, sweep, partial(_score, shared=Shared(log)))
            log.send(written)
        return written
    hints = hints_of(config)
    sources = [open_source(ckpt, config["features"], hints) for ckpt in ckpts]
    for source in sources:
        if source.extras is not None and (made := source.extras["config"].get("run_dir")):
            check_sealed(Path(made))  # also of a copy elsewhere
        if unfinished := run_of(source.ckpt).unfinished():
            warn(unfinished)
    name = config["dataset"].get("name", "")
    folder, _ = result_folder(sources, name, True, config["features"])
    with log.opened(_placed(config, folder), ckpts):
        results, protocols = _score(cfg, sources, Shared(log))
        results.report(protocols)
        if len(sources) > 1:
            report_settings(results, protocols, sources)
        log.send(results.written)
    return results.written


def _placed(config: dict[str, Any], default: Path) -> Path:
    """Where results go."""
    return default if config["out"] is None else Path(config["out"]).expanduser()


@dataclass
class Shared:
    """What the evaluations of a sweep's runs share, so that it is made once.

    Attributes:
        log: Is told what each has written.
        data: The last data module that was built, by its config.
        floors: Rows of random weights and raw pixels, by what they depend on.
    """

    log: Log
    data: dict[str, DataModule] = field(default_factory=dict)
    floors: dict[str, dict[str, Any]] = field(default_factory=dict)


def _score(
    cfg: DictConfig, sources: list[Source], shared: Shared
) -> tuple[Results, dict[str, Protocol]]:
    """All rows of one or several checkpoints beside each other, written as they come."""
    config = to_plain(cfg)
    seed_everything(config["seed"], workers=False, verbose=False)
    own, given = is_saved(config["dataset"]), given_preparation(config["dataset"])
    config = settled(cfg, sources[0])
    config |= _precisions(config["precision"])
    loaded = [source.pretrained for source in sources if source.pretrained is not None]
    preparations = [prepare(one.backbone, one.preprocess, given) for one in loaded]
    make_data = _data_module(config, sources[0], preparations[:1], shared, own)
    protocols = {name: _build(name, config["protocol"]) for name in config["protocol"]}
    for name, protocol in protocols.items():
        _check_trainable(name, protocol, sources)
    protocols = _that_fit(protocols, preparations[:1], make_data)
    for one, prepared in zip(row_names(sources), preparations, strict=False):
        info(f"{one}: images: {prepared.preprocess.extra_repr()}; {prepared.origin}")

    results = Results(config, sources, own)
    for i, candidate in enumerate(candidates(config, sources, preparations, make_data, given)):
        chosen = [name for name, p in protocols.items() if i == 0 or _takes(p, candidate)]
        for name in chosen:
            row = results.placed(candidate, name, pictures=i == 0)
            results.add(
                name, protocols[name], row, _row(name, protocols[name], row, results, shared)
            )
        if candidate.num_encoded:
            encoded = f"{candidate.num_encoded} images encoded"
            info(f"{candidate.name}: {encoded}, for {', '.join(chosen)}")
    shared.log.add(results)
    return results, protocols


def _precisions(given: str | None) -> dict[str, str]:
    """32-true or bf16-mixed, for a backbone that is frozen and for one that is trained."""
    if given not in (None, "auto", "32-true", "bf16-mixed"):
        raise UserError(f"precision={given}: give 32-true, bf16-mixed, auto or null")
    chosen = {"precision": given or "32-true", "training_precision": given or "auto"}
    return {name: resolve_precision(kind, default_device()) for name, kind in chosen.items()}


def _row(
    name: str, protocol: Protocol, row: Candidate, results: Results, shared: Shared
) -> dict[str, Any]:
    """The scores of a row; those of random weights and raw pixels are made once for a sweep."""
    if row.name not in FLOORS:
        return _scores(name, protocol, row) | {"num_encoded": row.num_encoded}
    backbone = results.config["backbone"] if row.name == RANDOM_INIT else None
    what = [row.name, name, results.id_of(name, protocol, row), row.preprocess.options(), backbone]
    key = json.dumps(what)
    if key not in shared.floors:
        scores = _scores(name, protocol, row)
        shared.floors[key] = scores | {"num_encoded": row.num_encoded}
    return dict(shared.floors[key])


def _as_list(ckpt: Any) -> list[str]:
    if not ckpt:
        raise UserError(f"ckpt={ckpt}: give a run folder, a file, or a list of them")
    return [str(one) for one in ckpt] if isinstance(ckpt, list) else [str(ckpt)]


def _data_module(
    config: dict[str, Any], source: Source, prepared: list[Preparation], shared: Shared, own: bool
) -> Callable[[int | None], DataModule]:
    """A function that builds the data module once, when a protocol first needs it.

    `own` says that they are the run's. Its argument is the white level of files of 16 bits. How
    images are prepared is not measured on them if a backbone says it; each row's candidate prepares
    them in its own way.
    """

    def make(white: int | None) -> DataModule:
        if is_saved(config["dataset"]):
            raise UserError(f"ckpt={source.ckpt} brings no data set: give dataset=NAME")
        wiring = dict(config["data"])
        if prepared:
            wiring |= {key: None for key in PREPARATION if key in wiring}
            if "white" in wiring["splits"]:
                wiring["splits"] = wiring["splits"] | {"white": white}
        key = json.dumps([wiring, bool(prepared)])
        if key not in shared.data:
            options = prepared[0].preprocess.options() if prepared else {}
            wiring |= {name: value for name, value in options.items() if name in wiring}
            data: DataModule = instantiate(OmegaConf.create({**config, "data": wiring}).data)
            shared.data.clear()
            shared.data[key] = data
            info(_read(data, prepared, config["precision"]))
            if own:
                _say_changes(source, data)
        return shared.data[key]

    return make


def _say_changes(source: Source, data: DataModule) -> None:
    """Say how a run's own images differ from what it was trained on: val may not be held out."""
    old = (source.extras or {}).get("split")
    if old and (changes := split_changes(old, data.fingerprint)):
        warn(
            f"{source.ckpt} was trained on other images or another split: {'; '.join(changes)}: "
            "val and test may hold images that it was trained on"
        )


def _read(data: DataModule, prepared: list[Preparation], precision: str) -> str:
    """What is scored, and how an image comes to the backbone."""
    facts = data_facts(data)
    if prepared and not {"mean", "std"} & prepared[0].changed.keys():
        facts["statistics"] = "the checkpoint's"  # which the data set's do not replace
    facts |= {"view_size": facts["input_size"], "view_sizes": []}  # nothing is trained on the views
    device = default_device()
    where = f"encoded on {device_name(device)} in {encoded_in(precision)}"
    if precision == "32-true" and has_native_bf16(device):
        where += " (precision=auto: bfloat16, which is faster)"
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


def _that_fit(
    protocols: dict[str, Protocol],
    prepared: list[Preparation],
    make_data: Callable[[int | None], DataModule],
) -> dict[str, Protocol]:
    """The protocols that can score the data, found before anything is encoded.

    Raises:
        UserError: If none can.
    """
    fit, refused = {}, []
    for name, protocol in protocols.items():
        data: Any = None
        if not protocol.own_data:
            first = prepared[0].preprocess if prepared else None
            data = make_data(None) if first is None else make_data(first.white).prepared(first)
        try:
            protocol.check(data)
            fit[name] = protocol
        except BadValue:  # the knob's name will show whose it is
            raise
        except UserError as error:
            refused.append(f"protocol={name}: {error}")
    if not fit:
        raise UserError(refused[0])
    for why in refused:
        warn(f"{why}; it is left out")
    return fit


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
