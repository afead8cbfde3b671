"""A table of settings: what runs vary, and the mean and s of their scores over seeds."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ssl_zoo.checkpoints import Source
from ssl_zoo.console import print_table, warn
from ssl_zoo.multirun import SEED, by_setting, settings_of_runs, spread_of, varied
from ssl_zoo.protocols.base import Protocol
from ssl_zoo.protocols.runner.candidates import row_names
from ssl_zoo.protocols.runner.results import Results, title_of, write_result
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.types import listed
from ssl_zoo.writing import write_text


class Scored(NamedTuple):
    """A run, and what a protocol made of it.

    Attributes:
        name: Of its row.
        run: Its folder; None for what is no run of ours, which is a setting of its own.
        row: Its scores.
    """

    name: str
    run: RunFolder | None
    row: dict[str, Any]


def run_of(ckpt: str) -> RunFolder:
    """The run that a source belongs to, if it is one of ours."""
    path = Path(ckpt).expanduser()
    return RunFolder(path if path.is_dir() else path.parent.parent)


def report_settings(
    results: Results, protocols: Mapping[str, Protocol], sources: Sequence[Source]
) -> None:
    """Where all of several checkpoints are runs of ours: their settings, in file and table."""
    runs = [run_of(source.ckpt) for source in sources]
    if not all(run.read_result() for run in runs):
        return
    named = dict(zip(row_names(list(sources)), runs, strict=True))
    tell_repeated(named)
    for name, protocol in protocols.items():
        rows = results.written[name]["rows"]
        scored = [Scored(row, run, rows[row]) for row, run in named.items()]
        keep_settings(results.paths[name], results.written[name], scored, protocol, name)


def tell_repeated(runs: Mapping[str, RunFolder]) -> None:
    """Say which runs repeat the seed of another one of their setting: n is too large, s too small.

    Args:
        runs: By their rows' names.
    """
    names, settings = list(runs), settings_of_runs(list(runs.values()))
    repeated: list[str] = []
    for _, positions in by_setting(settings, varied(settings)):
        first: dict[str, str] = {}
        for i in positions:
            seed, name = settings[i].get(SEED), names[i]
            if seed is not None and (other := first.setdefault(seed, name)) != name:
                repeated.append(f"{name} repeats {other}")
    if repeated:
        warn(
            f"runs with the same settings and seed: {listed(repeated)}; mean, s and n count each "
            "of them: remove one, or give it another seed"
        )


def keep_settings(
    path: Path,
    result: dict[str, Any],
    scored: Sequence[Scored],
    protocol: Protocol,
    name: str,
    beside: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> None:
    """Add `settings` to a result's file, write them beside it as CSV, and print them.

    Args:
        path: The file, .json.
        result: What it holds.
        scored: The runs.
        protocol: What scored them.
        name: Its name.
        beside: Rows that are printed below, such as random weights.
    """
    lines = _lines(scored)
    result["settings"] = lines
    write_result(path, result)
    write_text(path.with_suffix(".csv"), _as_csv(lines, protocol), fix="give out=FOLDER")
    floors = [_line({}, [Scored(row, None, scores)]) for row, scores in beside.items()]
    _print(f"{name} (id {result['protocol_id']})", [*lines, *floors], protocol)
    print(f"written to {path} and {path.with_suffix('.csv').name}")


# ---- the lines ----


def _lines(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """For each setting its runs, and each score's mean and s; scores of other ids stand apart."""
    ours = [one for one in scored if one.run is not None]
    settings = settings_of_runs([one.run for one in ours if one.run is not None])
    lines = []
    for values, positions in by_setting(settings, varied(settings)):
        runs = [ours[i] for i in positions]
        for found in dict.fromkeys(one.row.get("protocol_id") for one in runs):
            same = [one for one in runs if one.row.get("protocol_id") == found]
            lines.append(_line(values, same))
    return lines + [_line({}, [one]) for one in scored if one.run is None]


def _line(values: dict[str, str], runs: Sequence[Scored]) -> dict[str, Any]:
    first = runs[0].row
    scores: dict[str, dict[str, Any]] = {}
    for key, value in first.items():
        each = [one.row.get(key) for one in runs]
        numbers = [v for v in each if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) == len(runs):
            spread = spread_of(numbers)
            # a count that all share stays a count
            whole = isinstance(value, int) and len(set(numbers)) == 1
            interval = None if spread.interval is None else list(spread.interval)
            mean = value if whole else spread.mean
            scores[key] = {"mean": mean, "s": spread.s, "interval": interval}
    return {
        "settings": values,
        "runs": [one.name for one in runs],
        "n": len(runs),
        "protocol_id": first.get("protocol_id"),
        "scores": scores,
    }


# ---- their texts ----


def _knobs(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for line in lines for key in line["settings"]))


def _as_csv(lines: Sequence[Mapping[str, Any]], protocol: Protocol) -> str:
    text = StringIO(newline="")
    table = csv.writer(text)
    knobs = _knobs(lines)
    parts = ("", "_s", "_low", "_high")  # the last two: the 95% interval
    scores = [f"{key}{part}" for key in protocol.columns for part in parts]
    table.writerow(["runs", *knobs, "n", "protocol_id", *scores])
    for line in lines:
        values = [line["settings"].get(knob, "") for knob in knobs]
        spread = [line["scores"].get(key, {}) for key in protocol.columns]
        numbers = [
            number
            for one in spread
            for number in (one.get("mean"), one.get("s"), *(one.get("interval") or (None, None)))
        ]
        cells = ["" if number is None else number for number in numbers]
        table.writerow([" ".join(line["runs"]), *values, line["n"], line["protocol_id"], *cells])
    return text.getvalue()


def _print(title: str, lines: Sequence[Mapping[str, Any]], protocol: Protocol) -> None:
    knobs = _knobs(lines)
    several_ids = len({line["protocol_id"] for line in lines}) > 1
    columns = ["runs", *knobs, "n", *map(title_of, protocol.columns)]
    rows = []
    for line in lines:
        values = [line["settings"].get(knob, "") for knob in knobs]
        scores = [_cell(line["scores"].get(key), protocol) for key in protocol.columns]
        last = [str(line["protocol_id"])] if several_ids else []
        rows.append([_few(line["runs"]), *values, str(line["n"]), *scores, *last])
    columns += ["id"] if several_ids else []
    unit = ", shares in %" if protocol.shares else ""
    print_table(f"{title}: mean ± s over seeds{unit}", columns, rows)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 6 else f"{names[0]}, {names[1]} ... {names[-1]}"


def _cell(spread: Mapping[str, Any] | None, protocol: Protocol) -> str:
    """61.3 ± 0.4: shares in per cent; a count unchanged."""
    if spread is None or spread["mean"] is None:
        return ""
    if isinstance(spread["mean"], int):
        return str(spread["mean"])
    s = "" if spread["s"] is None else f" ± {protocol.shown(spread['s'])}"
    return f"{protocol.shown(spread['mean'])}{s}"
