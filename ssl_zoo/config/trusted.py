"""Which names a saved config may call."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ssl_zoo.config.locate import locate
from ssl_zoo.types import UserError

# Names in a checkpoint are called only from these packages, and from those that the user trusts.
ALLOWED_PACKAGES = ("ssl_zoo", "torch.optim", "torch.nn")
# A run that goes on also builds its trainer, loggers and losses.
RUN_PACKAGES = ("pytorch_lightning", "pytorch_metric_learning", "builtins.str")
VARIABLE = "SSL_ZOO_TRUST"  # packages, separated by commas

_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


@contextmanager
def trusting(packages: Iterable[str] | str | None) -> Iterator[None]:
    """Inside, the names of these packages in a saved config may be called too.

    What is trusted is never read from a saved config: a file must not vouch for itself.

    Args:
        packages: As in `trust=[mypackage]`; those of `SSL_ZOO_TRUST` are trusted besides.

    Raises:
        UserError: If one is not the name of a package.
    """
    if not isinstance(packages, str | Iterable | None) or isinstance(packages, Mapping):
        raise UserError(f"trust={packages}: give names of packages, as in trust=[mypackage]")
    listed = [packages] if isinstance(packages, str) else list(packages or ())
    for package in listed:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", str(package)):
            raise UserError(f"trust={package}: give names of packages, as in trust=[mypackage]")
    token = _trusted.set((*_trusted.get(), *map(str, listed)))
    try:
        yield
    finally:
        _trusted.reset(token)


def trusted_packages() -> tuple[str, ...]:
    """The packages that the user trusts at present."""
    named = os.environ.get(VARIABLE, "").replace(" ", "").strip("[]").split(",")
    return tuple(dict.fromkeys([*_trusted.get(), *filter(None, named)]))


def trust_for(node: Any, allowed: Iterable[str] = ()) -> str:
    """What to type beside a command that reads this config once it is saved: " trust=[mypackage]".

    Args:
        node: Plain dicts and lists.
        allowed: As in `check_targets`.

    Returns:
        With a space in front; "" where nothing is to be trusted.
    """
    foreign = own_packages(node, allowed)
    return f" trust=[{','.join(foreign)}]" if foreign else ""


def own_packages(node: Any, allowed: Iterable[str] = ()) -> list[str]:
    """The user's packages that a config calls.

    Args:
        node: Plain dicts and lists.
        allowed: As in `check_targets`.
    """
    known = (*ALLOWED_PACKAGES, *allowed)
    return sorted({one.split(".")[0] for one in _targets(node) if not _within(one, known)})


def check_targets(node: Any, allowed: Iterable[str] = ()) -> None:
    """Refuse a config that calls anything outside the allowed and the trusted packages.

    Args:
        node: Plain dicts and lists.
        allowed: Further packages.

    Raises:
        UserError: Naming the target, and what to type where it is to be trusted.
    """
    packages = (*ALLOWED_PACKAGES, *allowed, *trusted_packages())
    for target in _targets(node):
        _check(target, packages)


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("_target_") is not None:
            yield str(node["_target_"])
        node = list(node.values())
    for value in node if isinstance(node, list) else ():
        yield from _targets(value)


def _check(target: str, packages: tuple[str, ...]) -> None:
    if not _within(target, packages):
        package = target.split(".")[0]
        raise UserError(
            f"the checkpoint's config calls {target}, which is not part of ssl_zoo: if you trust "
            f"the package, give trust=[{package}], in Python trust=[{package!r}], or set {VARIABLE}"
        )
    try:
        found = locate(target)
    except UserError as error:
        raise UserError(f"the checkpoint's config calls {error}") from error
    defined = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    if not _within(defined, packages):  # ssl_zoo.config.os.system begins well too
        raise UserError(
            f"the checkpoint's config calls {target}, which {defined} defines: if you trust that "
            f"package, give trust=[{defined.split('.')[0]}] too"
        )


def _within(name: str, packages: Iterable[str]) -> bool:
    return f"{name}.".startswith(tuple(f"{package}." for package in packages))
