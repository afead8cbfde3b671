"""Tables for W&B: embeddings, rows of an evaluation, accuracies of classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_zoo.evaluation.features import Features

_MOST_ROWS, _MOST_DIMS = 1000, 64  # W&B's projector computes in the browser


def embedding_table(features: Features, class_names: Sequence[str]) -> Any:
    """Features as a table: class, and a column for each dimension.

    At most 1000 images, evenly spread; wider features by their first 64 principal components.
    """
    from wandb import Table

    rows = torch.linspace(0, len(features.label) - 1, min(_MOST_ROWS, len(features.label))).long()
    x = features.representation.detach().cpu().float()[rows]
    x = _components(x) if x.shape[1] > _MOST_DIMS else x
    labels = features.label.cpu()[rows].tolist()
    names = [class_names[label] if label >= 0 else "" for label in labels]
    data = [[name, *row] for name, row in zip(names, x.tolist(), strict=True)]
    return Table(columns=["class", *(f"d{i}" for i in range(x.shape[1]))], data=data)


def _components(x: Tensor) -> Tensor:
    centered = x - x.mean(0)
    u, s, _ = torch.linalg.svd(centered, full_matrices=False)
    components: Tensor = (u * s)[:, :_MOST_DIMS]
    return components


def rows_table(rows: Mapping[str, Mapping[str, Any]], first: str = "row") -> Any:
    """The rows of an evaluation, with their protocol ids; lists and dicts are left out.

    Args:
        rows: By their names.
        first: The title of the names' column.
    """
    from wandb import Table

    keys = dict.fromkeys(k for row in rows.values() for k, v in row.items() if _is_plain(v))
    data = [[name, *(row.get(key) for key in keys)] for name, row in rows.items()]
    return Table(columns=[first, *keys], data=data, allow_mixed_types=True)


def settings_table(lines: Sequence[Mapping[str, Any]]) -> Any:
    """The settings of an evaluated sweep: mean, s and the 95% interval of each score over seeds.

    Args:
        lines: As `settings` of a result of evaluate.py.
    """
    rows = {}
    for line in lines:
        row = dict(line["settings"]) | {"n": line["n"], "protocol_id": line["protocol_id"]}
        for score, spread in line["scores"].items():
            low, high = spread["interval"] or (None, None)
            row |= {score: spread["mean"], f"{score}_s": spread["s"]}
            row |= {f"{score}_low": low, f"{score}_high": high}
        rows[" ".join(line["runs"])] = row
    return rows_table(rows, first="runs")


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def csv_table(path: Path) -> Any:
    """A CSV file as a table; what reads as a number is one, and an empty cell is none."""
    from wandb import Table

    with path.open(newline="", encoding="utf-8") as file:
        columns, *lines = list(csv.reader(file))
    data = [[line[0], *map(_read, line[1:])] for line in lines]
    return Table(columns=list[str | int](columns), data=data, allow_mixed_types=True)


def _read(cell: str) -> float | str | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell
