"""Overrides of texts that Hydra or a shell would read otherwise, such as paths. No torch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException

from ssl_zoo.types import UserError

_STRUCTURE = re.compile(r"[\[\]{},]|^\s*\w+\(")  # lists, dicts, sweeps, functions


def override(key: str, value: str) -> str:
    """KEY=VALUE such that Hydra reads this very text; in quotes where it must be."""
    plain = _parsed(f"{key}={value}")
    if plain and not plain.is_sweep_override() and plain.value() == value:
        return f"{key}={value}"
    # Hydra halves backslashes only in front of a quote
    text = re.sub(r"(\\*)'", r"\1\1\\'", value)
    text = re.sub(r"(\\+)$", r"\1\1", text)
    return f"{key}='{text}'"


def typed(key: str, value: str) -> str:
    """KEY=VALUE as it is pasted into a shell."""
    text = override(key, value)
    if "'" in text and not re.search(r'["$`\\!]', text):
        return f'"{text}"'
    return shlex.quote(text)


def plain_texts(args: Iterable[str]) -> list[str]:
    """A command line in which the texts that Hydra would not read are quoted for it.

    `ckpt=RUN/epoch=9-step=1.ckpt`, for example. A value in the form of a list, a dict or a
    function is left to its writer. W&B's agent writes null as None.

    Raises:
        UserError: With the quoted form of such a value, or if a key is missing.
    """
    return [arg if arg.startswith("-") or "=" not in arg else _plain_text(arg) for arg in args]


def _plain_text(arg: str) -> str:
    key, _, value = arg.partition("=")
    if not key.strip("+~ "):
        raise UserError(f"{arg} is not KEY=VALUE: its key is missing")
    if value == "None":
        return f"{key}=null"
    if _parsed(arg) or not _parsed(f"{key}=x"):
        return arg
    if _STRUCTURE.search(value):
        raise UserError(f"{arg} cannot be read: if it is one text, give {typed(key, value)}")
    return override(key, value)


def _parsed(text: str) -> Override | None:
    try:
        return OverridesParser.create().parse_overrides([text])[0]
    except OverrideParseException:
        return None
