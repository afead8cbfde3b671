"""The nearest names to a mistyped one."""

from __future__ import annotations

from ssl_zoo.config import nearest


def test_nearest() -> None:
    names = ["seed", "epochs", "optimizer", "optimizer.lr", "optimizer.momentum"]
    assert nearest("optimizer.momentun", names).startswith("did you mean optimizer.momentum")
    assert nearest("zzz", names) == "known: epochs, optimizer, seed"
    assert nearest("zzz.y", names).startswith("known: epochs, optimizer, optimizer.lr")
