"""Interpolations of an unresolved config, followed without resolving them."""

from __future__ import annotations

import re
from typing import Any

# ${key}, ${.key}, ${oc.select:key,default} and the keys that a resolver is given
_REFERENCE = re.compile(r"\$\{(?:oc\.select:)?(\.*[A-Za-z_][\w.\-/]*)\s*[,}]")


def references(node: Any, path: str) -> list[str]:
    """The dotted keys that a value interpolates, in their order.

    Args:
        node: The value, unresolved.
        path: Its dotted key, which relative interpolations start from.
    """
    found = _REFERENCE.findall(node) if isinstance(node, str) else []
    return [_absolute(reference, path) for reference in found]


def _absolute(reference: str, path: str) -> str:
    dots = len(reference) - len(reference.lstrip("."))
    if dots == 0:
        return reference
    return ".".join([*path.split(".")[:-dots], reference.lstrip(".")])


def select(tree: Any, path: str, default: Any = None) -> Any:
    """What lies at a dotted key of plain dicts and lists, else the default."""
    for part in path.split("."):
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return default
    return tree


def overlap(one: str, other: str) -> bool:
    """Whether one of two dotted keys is the other, or holds it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
