"""The backbone and the data set that a checkpoint brings."""

from __future__ import annotations

import copy
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.checkpoints import Source
from ssl_zoo.checkpoints.preparation import PREPARATION
from ssl_zoo.config import check_targets, to_plain
from ssl_zoo.console import info
from ssl_zoo.types import UserError

_NOT_GIVEN = "saved"  # the value of a knob in conf/dataset/saved.yaml


def is_saved(dataset: dict[str, Any]) -> bool:
    """Whether this is the config of conf/dataset/saved.yaml, not yet filled in."""
    return "otherwise" in dataset


def given_preparation(dataset: dict[str, Any]) -> dict[str, Any]:
    """What is given in the place of a backbone's own preprocessing; null leaves it to that.

    Args:
        dataset: As composed, before `settled` fills in what a checkpoint brings.
    """
    values = {name: dataset.get(name) for name in (*PREPARATION, "white")}
    return {name: value for name, value in values.items() if value not in (None, _NOT_GIVEN)}


def settled(cfg: DictConfig, source: Source) -> dict[str, Any]:
    """The config as plain values, with the backbone and the data set that the source brings.

    With `dataset=saved` the data set is the one that the checkpoint was trained on; knobs given
    with it replace the saved ones. Random weights are scored on `dataset.otherwise`; another
    source that brings no data set leaves it at `saved`.

    Args:
        cfg: As composed from conf/evaluate.yaml.
        source: The first of those that are scored.

    Raises:
        UserError: If a knob is given that the data set does not have.
    """
    config = to_plain(cfg)
    dataset = config["dataset"]
    if is_saved(dataset) and source.pretrained is None:
        name = dataset["otherwise"]["name"]
        info(f"ckpt=random is scored on {name}; dataset=NAME chooses another data set")
        config = to_plain(_with_dataset(cfg, dataset["otherwise"], _given(dataset)))
    elif is_saved(dataset) and source.extras is not None:
        config |= _own_data(source.extras["config"], _given(dataset), config)
    if source.pretrained is not None:
        config["backbone"] = source.pretrained.config
    return config


def _given(dataset: dict[str, Any]) -> dict[str, Any]:
    """The knobs that were given beside `dataset=saved`."""
    knobs = {k: v for k, v in dataset.items() if k != "otherwise" and v != _NOT_GIVEN}
    nested = {k: _given(v) if isinstance(v, dict) else v for k, v in knobs.items()}
    return {k: v for k, v in nested.items() if v != {}}


def _with_dataset(cfg: DictConfig, dataset: dict[str, Any], given: dict[str, Any]) -> DictConfig:
    """The config with another data set, which the wiring then uses."""
    dataset = copy.deepcopy(dataset)
    _replace(dataset, given, f"dataset={dataset['name']}")
    other = cfg.copy()
    OmegaConf.set_struct(other, False)
    other.dataset = dataset
    return other


def _own_data(
    saved: dict[str, Any], given: dict[str, Any], config: dict[str, Any]
) -> dict[str, Any]:
    """Data set and wiring of one of our runs; its views are not used, so they need not import."""
    dataset, data = copy.deepcopy(saved["dataset"]), copy.deepcopy(saved["data"])
    data["augmentation"] = config["augmentation"]
    check_targets([dataset, data])
    whose = "the checkpoint's data set"
    # every data set has these, also one that an earlier version saved
    dataset |= {name: given.pop(name) for name in PREPARATION if name in given}
    _replace(dataset, given, whose)
    for key, value in given.items():  # the saved wiring is resolved: it holds the values themselves
        _replace(data if key in data else data["splits"], {key: value}, whose)
    if "skipped_list" in data["splits"]:
        data["splits"]["skipped_list"] = None  # the training run wrote it
    data["eval_batch_size"] = config["batch_size"]
    return {"dataset": dataset, "data": data}


def _replace(
    node: dict[str, Any], given: dict[str, Any], whose: str, place: str = "dataset"
) -> None:
    """Set the given values, in place.

    Raises:
        UserError: If a key is not there yet.
    """
    for key, value in given.items():
        if key not in node:
            raise UserError(f"{place}.{key} is not a knob of {whose}")
        if isinstance(value, dict) and isinstance(node[key], dict):
            _replace(node[key], value, whose, f"{place}.{key}")
        else:
            node[key] = value
