"""A config as plain values, and as the parts that it names."""

from __future__ import annotations

import re
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.config.knob_names import ErrorAt
from ssl_zoo.config.values import check_types
from ssl_zoo.types import UserError, first_line


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain dicts, lists and scalars.

    Raises:
        UserError: If a mandatory value is missing or an interpolation does not resolve.
    """
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    missing = [key for key, value in flatten(raw).items() if value == "???"]  # type: ignore[arg-type]
    if missing:
        raise UserError(f"{missing[0]} has no value: give {missing[0]}=... on the command line")
    try:
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(first_line(error)) from error
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict as one level with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def instantiate(node: Any, **kwargs: Any) -> Any:
    """Hydra's `instantiate`; a UserError in a part comes out unwrapped.

    Args:
        node: With a `_target_`.
        **kwargs: What it is called with besides.

    Raises:
        UserError: Of a part of ours.
        ErrorAt: Where a part refuses a knob (TypeError, ValueError), or a value has a wrong type.
    """
    if isinstance(node, DictConfig):
        check_types(OmegaConf.to_container(node, resolve=True), node._get_full_key(None))
    try:
        return hydra.utils.instantiate(node, **kwargs)
    except InstantiationException as error:
        refusal = _refusal(error)
        raise refusal from refusal.__cause__


def _refusal(error: InstantiationException) -> Exception:
    """The user's error behind one of Hydra's, or Hydra's own if there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    if cause is not None:
        return cause
    if not isinstance(error.__cause__, TypeError | ValueError | OSError):
        return error
    text = first_line(error.__cause__)
    place = re.search(r"full_key: (\S+)", str(error))
    refusal = ErrorAt(place.group(1), f": {text}") if place else UserError(text)
    refusal.__cause__ = error.__cause__
    return refusal
