"""The accuracy of each class, by name: one line a class, one column a row of the table."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ssl_zoo.data import DataModule
from ssl_zoo.metric_names import TOP1_BY_CLASS
from ssl_zoo.writing import write_text


def write_per_class(result: Path, rows: dict[str, dict[str, Any]], data: DataModule) -> None:
    """Write RESULT_per_class.csv beside a result, if its rows have accuracies of classes.

    The columns are class, the number of its test images, and for each row (and setting, such as
    1pct) the share that is right; empty for a class that is not scored.

    Args:
        result: The JSON file.
        rows: Its rows so far.
        data: Names the classes.
    """
    columns: dict[str, list[Any]] = {}
    for row, scores in rows.items():
        for name, by_class in scores.items():
            if name.startswith(TOP1_BY_CLASS):
                setting = name.removeprefix(TOP1_BY_CLASS).removeprefix("_")
                columns[f"{row} {setting}".strip()] = by_class
    if not columns or data.test is None:
        return
    labels = data.test.labels
    count = labels[labels >= 0].bincount(minlength=data.num_classes).tolist()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "images", *columns])
    writer.writerows(zip(data.class_names, count, *columns.values(), strict=True))
    path = result.with_name(f"{result.stem}_per_class.csv")
    write_text(path, text.getvalue(), fix="give out=FOLDER")
