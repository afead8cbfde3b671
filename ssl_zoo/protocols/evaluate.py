"""One protocol on one backbone, beside random weights and raw pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from torch import Tensor, nn
from torch.nn import functional

from ssl_zoo.checkpoint import (
    build_backbone,
    check_targets,
    find_checkpoint,
    load_backbone,
    read_checkpoint,
)
from ssl_zoo.config import instantiate, to_plain
from ssl_zoo.console import bar, print_table, quiet_lightning, warn
from ssl_zoo.data import DataModule
from ssl_zoo.data.loaders import CleanLoader
from ssl_zoo.evaluation.features import Features, encode
from ssl_zoo.knobs import task_overrides
from ssl_zoo.precision import autocast
from ssl_zoo.types import UserError

_PIXELS = 32  # raw pixels of larger images are compared at this size


class Subject(NamedTuple):
    """What is scored: a backbone or raw pixels, with its own way of preparing images."""

    name: str
    forward: nn.Module
    normalize: Callable[[Tensor], Tensor]


class RawPixels(nn.Module):
    """The normalised pixels themselves, (N, 3 * side * side); larger images shrink to 32 x 32."""

    def forward(self, images: Tensor) -> Tensor:
        if max(images.shape[-2:]) > _PIXELS:
            images = functional.interpolate(images, size=(_PIXELS, _PIXELS), mode="area")
        return images.flatten(1)


def run(cfg: DictConfig) -> dict[str, Any]:
    """Score `ckpt` by `protocol`; print the table and write RUN/evaluation/<protocol>.json.

    Args:
        cfg: As composed from conf/evaluate.yaml.

    Raises:
        UserError: If the checkpoint, the data or the protocol do not fit.
    """
    quiet_lightning()
    config = to_plain(cfg)
    config = config | _from_checkpoint(config)
    seed_everything(config["seed"], workers=False, verbose=False)
    data: DataModule = instantiate(OmegaConf.create(config).data)
    if data.num_classes == 0:
        raise UserError("this data set has no labels: a protocol needs them")
    if len(data.val) == 0:
        raise UserError("no image is held out for validation: raise dataset.val_fraction")
    protocol = instantiate(OmegaConf.create(config["protocol"]))
    subjects = _subjects(config, data)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: dict[str, Any] = {}
    for subject in subjects:
        with bar(f"{subject.name}: encode") as progress:
            splits = _encode(subject, data, device, progress)
        with bar(f"{subject.name}: {protocol.name}") as progress:
            rows[subject.name] = protocol.score(*splits, data.num_classes, config["seed"], progress)

    first = rows[subjects[0].name]
    if first.get("on_edge"):
        warn(f"the best learning rate, {first['learning_rate']:g}, is at an end of the grid")
    result = {
        "ckpt": str(config["ckpt"]),
        "protocol": {k: v for k, v in config["protocol"].items()},
        "dataset": config["dataset"],
        "num_images": {
            "train": len(data.train),
            "val": len(data.val),
            "test": len(data.test or []),
        },
        "rows": rows,
    }
    path = _path(config, protocol.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    _report(protocol.name, rows, path)
    return result


def _from_checkpoint(config: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint's data set, backbone and data wiring; the command line goes before."""
    if config["ckpt"] == "random":
        return {}
    saved = read_checkpoint(find_checkpoint(config["ckpt"]))["ssl_zoo"]["config"]
    check_targets([saved["backbone"], saved["dataset"], saved["data"]])
    overrides = task_overrides()
    fixed = [
        o for o in overrides if o.lstrip("+~").startswith(("backbone", "augmentation", "data."))
    ]
    if fixed:
        raise UserError(f"{fixed[0]}: ckpt={config['ckpt']} brings its own, remove it")
    if _other_dataset():
        return {"backbone": saved["backbone"]}
    dataset = OmegaConf.create(saved["dataset"])
    given = [o.lstrip("+") for o in overrides if o.lstrip("+").startswith("dataset.")]
    data = OmegaConf.merge(saved["data"], {"eval_batch_size": config["batch_size"]})
    if "skipped_list" in data.splits:
        data.splits.skipped_list = None  # the training run wrote it
    if given:
        dataset = OmegaConf.merge(dataset, OmegaConf.from_dotlist(given).dataset)
        _set_in_place(data, given)
    return {
        "backbone": saved["backbone"],
        "dataset": OmegaConf.to_container(dataset),
        "data": OmegaConf.to_container(data),
    }


def _other_dataset() -> bool:
    """Whether the command line names a data set."""
    return any(o.startswith("dataset=") for o in task_overrides())


def _set_in_place(data: Any, given: list[str]) -> None:
    """Carry dataset.* overrides into the saved wiring, which is resolved already."""
    for key, value in OmegaConf.from_dotlist(given).dataset.items():
        place = data if key in data else data.splits
        if key not in place:
            raise UserError(f"dataset.{key} is no knob of the checkpoint's data set")
        OmegaConf.update(place, str(key), value)


def _subjects(config: dict[str, Any], data: DataModule) -> list[Subject]:
    normalize = data.preprocess.normalize
    subjects = []
    if config["ckpt"] != "random":
        backbone, preprocess = load_backbone(config["ckpt"])
        subjects.append(Subject("pretrained", backbone, preprocess.normalize))
    if config["ckpt"] == "random" or config["baselines"]:
        subjects.append(Subject("random init", build_backbone(config["backbone"]), normalize))
    if config["baselines"]:
        subjects.append(Subject("raw pixels", RawPixels(), normalize))
    return subjects


def _encode(
    subject: Subject,
    data: DataModule,
    device: torch.device,
    on_progress: Callable[[int, int], None],
) -> list[Features]:
    """Features of train, val and test; each image is encoded once."""
    loaders: list[CleanLoader] = [
        data.bank_dataloader(),
        data.val_dataloader(),
        data.test_dataloader(),
    ]
    total = sum(len(loader) for loader in loaders)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    forward = subject.forward.to(device)
    return [
        encode(forward, loader, subject.normalize, device, autocast(device), advance).labelled()
        for loader in loaders
    ]


def _path(config: dict[str, Any], protocol: str) -> Path:
    """RUN/evaluation/<protocol>.json; another checkpoint or data set adds its name."""
    if config["out"] is not None:
        return Path(config["out"]) / f"{protocol}.json"
    dataset = HydraConfig.get().runtime.choices["dataset"] if HydraConfig.initialized() else ""
    if config["ckpt"] == "random":
        return Path("runs") / f"random_{dataset}" / "evaluation" / f"{protocol}.json"
    checkpoint = find_checkpoint(config["ckpt"])
    in_run = checkpoint.parent.name == "checkpoints"
    folder = checkpoint.parent.parent if in_run else checkpoint.parent
    name = protocol if checkpoint.stem == "last" else f"{protocol}_{checkpoint.stem}"
    name += f"_{dataset}" if _other_dataset() else ""
    return folder / "evaluation" / f"{name}.json"


def _report(name: str, rows: dict[str, Any], path: Path) -> None:
    columns = [key for key in next(iter(rows.values())) if "top1" in key]
    titles = [key.replace("test_top1_", "").replace("_top1", "") for key in columns]
    table = [
        [row, *(f"{100 * scores[key]:.1f}" for key in columns)] for row, scores in rows.items()
    ]
    print_table(f"{name}: top-1, %", ["", *titles], table)
    print(f"written to {path}")
