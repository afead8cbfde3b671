"""What would leave a file behind if a checkpoint had it called."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def bomb(path: str) -> None:
    Path(path).write_text("called")


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return bomb, (self.path,)
