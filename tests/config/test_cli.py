"""The nearest names to a mistyped one; who reads the command line."""

from __future__ import annotations

from helpers.paths import ROOT
from ssl_zoo.config import nearest


def test_nearest() -> None:
    names = ["seed", "epochs", "optimizer", "optimizer.lr", "optimizer.momentum"]
    assert nearest("optimizer.momentun", names).startswith("did you mean optimizer.momentum")
    assert nearest("zzz", names) == "known: epochs, optimizer, seed"
    assert nearest("zzz.y", names).startswith("known: epochs, optimizer, optimizer.lr")


def test_only_the_command_line_reads_the_arguments() -> None:
    for path in (ROOT / "ssl_zoo" / "config").glob("*.py"):
        assert path.name == "cli.py" or "argv" not in path.read_text(), path
