"""Overrides of texts that Hydra or a shell would read otherwise, such as paths. No torch."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException

from ssl_zoo.types import UserError

_AGENT = "WANDB_SWEEP_ID"  # W&B's agent sets it for the runs that it starts
_RANGES = (
    "values to choose from are {0}=interval(0.1,1), {0}=tag(log,interval(1e-4,1e-1)), "
    "{0}=range(1,9) or {0}=choice(a,b); "
)
_STRUCTURE = re.compile(r"[\[\]{},]|^\s*\w+\(")  # lists, dicts, sweeps, functions


def override(key: str, value: str) -> str:
    """KEY=VALUE such that Hydra reads this very text; in quotes where it must be."""
    plain = _parsed(f"{key}={value}")
    if plain and not plain.is_sweep_override() and plain.value() == value:
        return f"{key}={value}"
    return f"{key}={_quoted(value)}"


def _quoted(value: str) -> str:
    # Hydra halves backslashes only in front of a quote
    text = re.sub(r"(\\*)'", r"\1\1\\'", value)
    text = re.sub(r"(\\+)$", r"\1\1", text)
    return f"'{text}'"


def typed(key: str, value: str) -> str:
    """KEY=VALUE as it is pasted into a shell."""
    text = override(key, value)
    if "'" in text and not re.search(r'["$`\\!]', text):
        return f'"{text}"'
    return shlex.quote(text)


def plain_texts(args: Iterable[str]) -> list[str]:
    """A command line in which the texts that Hydra would not read are quoted for it.

    `ckpt=RUN/epoch=9-step=1.ckpt`, for example. A value in the form of a list, a dict or a
    function is left to its writer. W&B's agent writes values as Python does: None, lists with None
    in them, and nested parameters as a dict, which become an override each.

    Raises:
        UserError: With the quoted form of such a value, or if a key is missing.
    """
    given, texts = list(args), list[str]()
    # an agent starts one run, so a comma is of a text
    one_run = _AGENT in os.environ and not {"-m", "--multirun"} & set(given)
    for arg in given:
        texts += [arg] if arg.startswith("-") or "=" not in arg else _readable(arg, one_run)
    return texts


def _readable(arg: str, one_run: bool) -> list[str]:
    """An override, or those that a dict of Python stands for."""
    key, _, value = arg.partition("=")
    if not key.strip("+~ "):
        raise UserError(f"{arg} is not KEY=VALUE: its key is missing")
    if value == "None":
        return [f"{key}=null"]
    if value[:1] in ("{", "["):
        with suppress(ValueError, SyntaxError):
            return _of_python(key, ast.literal_eval(value), arg)
    return [_plain_text(arg, one_run)]


def _of_python(key: str, value: Any, arg: str) -> list[str]:
    """The overrides that set a value of Python, such as those of W&B's nested parameters."""
    if isinstance(value, dict) and value:
        return [one for k, v in value.items() for one in _of_python(f"{key}.{k}", v, "")]
    if arg and _parsed(arg) and "None" not in arg:  # as Hydra has it
        return [arg]
    return [f"{key}={_hydras(value)}"]


def _hydras(value: Any) -> str:
    """A value of Python in Hydra's grammar."""
    if isinstance(value, list | tuple | set):
        return f"[{','.join(map(_hydras, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{_hydras(v)}' for k, v in value.items())}}}"
    if isinstance(value, str):
        return _quoted(value)
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


def _plain_text(arg: str, one_run: bool) -> str:
    key, _, value = arg.partition("=")
    read = _parsed(arg)
    if one_run and (read is None or read.is_sweep_override()):
        return override(key, value)
    if read or not _parsed(f"{key}=x"):
        return arg
    if _STRUCTURE.search(value):
        way = _RANGES.format(key) if re.match(r"\s*\w+\(", value) else ""
        raise UserError(f"{arg} cannot be read: {way}if it is one text, give {typed(key, value)}")
    return override(key, value)


def _parsed(text: str) -> Override | None:
    try:
        return OverridesParser.create().parse_overrides([text])[0]
    except OverrideParseException:
        return None
