"""What a `_target_` names. Imports no torch."""

from __future__ import annotations

import importlib
import importlib.util
from difflib import get_close_matches
from typing import Any

from ssl_zoo.types import UserError, first_line


def locate(target: str) -> Any:
    """The object that a dotted name means, importing the modules on the way.

    Raises:
        UserError: Saying which part of the name is not there, or what its import raised.
    """
    first, *rest = target.split(".")
    found: Any = _imported(first, target)
    place = first
    for part in rest:
        place += f".{part}"
        if not hasattr(found, part):
            _check_submodule(found, part, place, target)
            found = _imported(place, target)
        else:
            found = getattr(found, part)
    return found


def _imported(module: str, target: str) -> Any:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a script without `if __name__` may exit
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            fix = "install its package, or put the folder that holds it on PYTHONPATH"
            raise UserError(f"{target}: there is no module {module}: {fix}") from error
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{target}: the import of {module} fails with {reason}") from error


def _check_submodule(parent: Any, name: str, place: str, target: str) -> None:
    """Refuse a name that its parent does not have, with the nearest one."""
    if name and hasattr(parent, "__path__") and importlib.util.find_spec(place) is not None:
        return
    close = get_close_matches(name, dir(parent), n=1)
    hint = f": did you mean {close[0]}?" if close else ""
    of = place.rpartition(".")[0]
    raise UserError(f"{target}: {of} has no {name or 'empty name'}{hint}")
