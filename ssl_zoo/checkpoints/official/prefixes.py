"""Which of a file's networks is the backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ssl_zoo.checkpoints.hints import Hints
from ssl_zoo.checkpoints.official.layouts import CHOICES, KNOWN, PLAIN, Layout, first_fit
from ssl_zoo.checkpoints.official.names import State, below, prefixes_of, unwrapped
from ssl_zoo.checkpoints.unpickle import module_in
from ssl_zoo.checkpoints.weights import shown
from ssl_zoo.types import UserError

_SHOWN = 3  # names of tensors in an error


def find(content: Any, state: State, path: Path, hints: Hints) -> tuple[Layout, str, str]:
    """The program that wrote a file, the backbone's prefix, and what both were concluded from.

    Args:
        content: As read from the file.
        state: Its tensors.
        path: For messages.
        hints: What the user says.

    Raises:
        UserError: If there is no backbone, or several that differ, or a hint does not fit.
    """
    if hints.ckpt_layout is not None and hints.ckpt_layout not in CHOICES:
        known = ", ".join(CHOICES)
        raise UserError(f"ckpt_layout={hints.ckpt_layout}: must be one of {known}")
    prefixes = prefixes_of(state)
    if not prefixes:
        raise UserError(_unknown(content, state, path))
    fit = first_fit(prefixes, state, content if isinstance(content, Mapping) else {})
    layout = CHOICES[hints.ckpt_layout] if hints.ckpt_layout else fit[0] if fit else PLAIN
    by = f", layout by ckpt_layout={hints.ckpt_layout}" if hints.ckpt_layout else ""
    if hints.ckpt_prefix is not None:
        prefix = _given(hints.ckpt_prefix, prefixes, state, path)
        return layout, prefix, f"{_place(prefix)} by ckpt_prefix={shown(hints.ckpt_prefix)}{by}"
    if fit is not None and layout is fit[0]:
        return layout, fit[1], f"{_place(fit[1])}, told by {layout.evidence}{by}"
    own = [one for one in prefixes if layout.prefix and layout.root(one) is not None]
    distinct = _distinct(own or prefixes, state)
    prefix = _only(distinct, path)
    why = "the only whole one" if len(prefixes) == 1 else "of equal ones the shortest name"
    return layout, prefix, f"{_place(prefix)}, {why}{by}"


def _place(prefix: str) -> str:
    return f"backbone taken from {shown(prefix) if prefix else 'the file itself'}"


def _given(given: str, prefixes: list[str], state: State, path: Path) -> str:
    """The backbone that `ckpt_prefix` names.

    Its end, as in "teacher.backbone" of "state_dict.teacher.backbone.", counts first; then any
    part, as in "teacher".
    """
    # as the names stand in the file, or as they are shown here
    parts = [part for part in unwrapped(given).split(".") if part]
    split = {prefix: prefix.split(".")[:-1] for prefix in prefixes}
    ending = [one for one, have in split.items() if have[len(have) - len(parts) :] == parts]
    exact = [one for one, have in split.items() if have == parts]
    within = [
        one
        for one, have in split.items()
        if parts and any(have[i : i + len(parts)] == parts for i in range(len(have)))
    ]
    found = exact or (ending if parts else []) or within
    if not found:
        raise UserError(
            f"ckpt_prefix={given}: {path} has no whole backbone there, but under "
            f"{_listed(prefixes)}; {_tensors(state)}"
        )
    return _only(_distinct(found, state), path)


def _distinct(prefixes: Iterable[str], state: State) -> list[str]:
    """The backbones that differ; of equal ones that with the shortest prefix."""
    kept: list[str] = []
    for prefix in sorted(prefixes, key=len):
        if not any(_equal(below(state, prefix), below(state, other)) for other in kept):
            kept.append(prefix)
    return kept


def _equal(one: State, other: State) -> bool:
    """Whether the smaller of two networks is a part of the other: heads may lie beside it."""
    small, large = sorted((one, other), key=len)
    try:
        return all(n in large and torch.equal(small[n], large[n]) for n in small)
    except (RuntimeError, NotImplementedError):  # what is no plain tensor is refused later
        return False


def _only(prefixes: list[str], path: Path) -> str:
    if len(prefixes) == 1:
        return prefixes[0]
    raise UserError(
        f"{path} holds {len(prefixes)} whole backbones, under {_listed(prefixes)}: choose one by "
        f"ckpt_prefix={shown(prefixes[0].rstrip('.')) or repr('')}"
    )


def _listed(prefixes: list[str]) -> str:
    return ", ".join(shown(prefix) if prefix else "no prefix" for prefix in prefixes)


def _unknown(content: Any, state: State, path: Path) -> str:
    """Why a file has no backbone, and what it has."""
    if module := module_in(content):
        return (
            f"{path} holds a whole model ({module}), whose code would have to run: save its "
            "weights, by torch.save(model.state_dict(), FILE)"
        )
    keys = islice(content, 4) if isinstance(content, Mapping) else [type(content).__name__]
    first = ", ".join(shown(key, 40) for key in keys)
    return (
        f"{path} was not saved by ssl_zoo, and its layout is unknown (it begins with "
        f"{first or 'nothing'}): known are {KNOWN}; {_tensors(state)}"
    )


def _tensors(state: State) -> str:
    """The names of the first tensors."""
    names = ", ".join(shown(name) or "one without a name" for name in islice(state, _SHOWN))
    more = f" and {len(state) - _SHOWN} more" if len(state) > _SHOWN else ""
    return f"its tensors are {names}{more}" if state else "it holds no tensors"
