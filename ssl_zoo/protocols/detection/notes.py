"""What is wrong in annotations, and what was guessed: one line for each kind, with its count."""

from __future__ import annotations

from pathlib import Path

from ssl_zoo.console import warn
from ssl_zoo.types import UserError


class Notes:
    """Collects faults and guesses, so that a thousand of a kind are one line with their count."""

    def __init__(self) -> None:
        self._faults: dict[str, list[str]] = {}
        self._guesses: dict[str, list[str]] = {}

    def refuse(self, kind: str, line: str) -> None:
        """Note a fault.

        Args:
            kind: What is counted together.
            line: Value, place and fix; that of the first is shown.
        """
        self._faults.setdefault(kind, []).append(line)

    def guess(self, what: str, place: str) -> None:
        """Note what is read in spite of its form.

        Args:
            what: Follows the count, as in "boxes clipped to their image".
            place: That of the first is shown.
        """
        self._guesses.setdefault(what, []).append(place)

    def check(self) -> None:
        """Refuse the faults so far.

        Raises:
            UserError: The first line of the first kind, and how many there are of this kind.
        """
        if self._faults:
            lines = next(iter(self._faults.values()))
            more = f" (the first of {len(lines)})" if len(lines) > 1 else ""
            raise UserError(lines[0] + more)

    def tell(self, folder: Path) -> None:
        """One warning for each kind of guess."""
        for what, places in self._guesses.items():
            warn(f"{folder}: {len(places)} {what}, the first: {places[0]}")
