"""Which names a saved config may call."""

from __future__ import annotations

import pydoc
from typing import Any

from ssl_zoo.types import UserError

# Names in a checkpoint are called only from these packages.
ALLOWED_PACKAGES = ("ssl_zoo", "torch.optim", "torch.nn")


def _allowed(target: str) -> bool:
    """Whether a name lies in the allowed packages, and what it names was defined there."""
    packages = tuple(f"{package}." for package in ALLOWED_PACKAGES)
    if not target.startswith(packages):
        return False
    # ssl_zoo.config.os.system begins well too
    defined_in = getattr(pydoc.locate(target), "__module__", None)
    return f"{defined_in}.".startswith(packages)


def check_targets(node: Any) -> None:
    """Refuse a config that names anything outside the allowed packages.

    Raises:
        UserError: Naming the target.
    """
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None and not _allowed(str(target)):
            raise UserError(f"the checkpoint's config names {target}, which ssl_zoo does not call")
        for value in node.values():
            check_targets(value)
    elif isinstance(node, list):
        for value in node:
            check_targets(value)
