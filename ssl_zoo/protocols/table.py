"""One table of everything a run was scored by: `python -m ssl_zoo.protocols.table RUN`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ssl_zoo.console import print_table


def print_scores(folder: Path) -> None:
    """Print test top-1 by protocol for each row of the JSON files in an evaluation folder."""
    results = {
        path.stem: json.loads(path.read_text())["rows"] for path in sorted(folder.glob("*.json"))
    }
    names = list(dict.fromkeys(name for rows in results.values() for name in rows))
    table = [
        [name, *(_percent(rows.get(name, {}).get("test_top1")) for rows in results.values())]
        for name in names
    ]
    print_table("test top-1, %", ["", *results], table)


def _percent(top1: float | None) -> str:
    return "" if top1 is None else f"{100 * top1:.1f}"


if __name__ == "__main__":
    print_scores(Path(sys.argv[1]) / "evaluation")
