"""The ledger of test: a line before each reading and one after it, chained by hashes. No torch."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssl_zoo.study.folder import StudyFolder
from ssl_zoo.types import UserError
from ssl_zoo.writing import write_text

OPENED, READ, FAILED = ("opened", "read", "failed")


class Ledger:
    """Appends to ledger.jsonl; what a kill cut short is taken away first.

    Args:
        folder: The study's, whose lock this process holds.

    Raises:
        UserError: If a line does not follow the one before it.
    """

    def __init__(self, folder: StudyFolder) -> None:
        self.file = folder.ledger
        text = self.file.read_text(encoding="utf-8") if self.file.is_file() else ""
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        if text != "".join(whole):
            write_text(self.file, "".join(whole))
        self._lines = [line.rstrip("\n") for line in whole]
        self.entries = folder.read_ledger()
        check_chain(self._lines, self.file)

    def last(self, reading: str) -> dict[str, Any]:
        """The last line of a reading; empty if there is none."""
        of_it = [entry for entry in self.entries if entry["id"] == reading]
        return of_it[-1] if of_it else {}

    def first(self, reading: str) -> dict[str, Any]:
        """The first line of a reading, which has opened it."""
        return next(entry for entry in self.entries if entry["id"] == reading)

    def is_closed(self, reading: str) -> bool:
        """Whether a reading was done, or has failed."""
        return self.last(reading).get("status") in (READ, FAILED)

    def append(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Add a line, which is on the disk when this returns.

        Args:
            entry: With an id and a status.

        Raises:
            UserError: If the reading was done before, or is of another checkpoint.
        """
        before = self.last(entry["id"])
        if before.get("status") == READ:
            raise UserError(f"{self.file}: test was read before as {entry['id']}: not twice")
        if before and before["checkpoint_sha"] != entry["checkpoint_sha"]:
            raise UserError(
                f"{self.file}: {entry['id']} was opened for another checkpoint than the present"
            )
        previous = hashlib.sha256(self._lines[-1].encode()).hexdigest() if self._lines else ""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        whole = {**entry, "time": now, "previous": previous}
        line = json.dumps(whole, sort_keys=True)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._lines.append(line)
        self.entries.append(whole)
        return whole


def check_chain(lines: list[str], file: Path) -> None:
    """Refuse lines that were changed, added or taken away.

    Raises:
        UserError: Naming the first line that does not follow.
    """
    previous = ""
    for number, line in enumerate(lines, 1):
        if json.loads(line).get("previous") != previous:
            raise UserError(f"{file}: line {number} does not follow the line before: it was edited")
        previous = hashlib.sha256(line.encode()).hexdigest()
