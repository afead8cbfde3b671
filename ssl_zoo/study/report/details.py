"""The sections of a report: what was spent, what was held, and every run."""

from __future__ import annotations

import json
from typing import Any

import yaml

from ssl_zoo.console import duration
from ssl_zoo.metric_names import metric_named
from ssl_zoo.study.guards.equal import differing
from ssl_zoo.study.reading import Run, Study, flattened
from ssl_zoo.study.report.document import Block, Lines, Section, Table, Text
from ssl_zoo.study.report.words import count, score, short, values
from ssl_zoo.study.results import spent

_MOST_SETTINGS = 60
_LONGEST = 300  # letters of an error
# Of a config: what only says where a run is and how it is watched.
_NOT_SHOWN = ("run_dir", "name", "callbacks", "monitor", "logger", "trainer", "method", "data")


def of_budget(study: Study) -> Section:
    """What each method was given."""
    rows = []
    for method in study.methods:
        one = spent(study, method)
        seconds = one.amounts["seconds"]
        rows.append(
            [
                method,
                *(str(n) for n in (one.trials, one.reruns, one.finals, one.failures)),
                *(count(one.amounts[unit]) for unit in ("images", "views", "pixels")),
                "" if seconds is None else duration(seconds),
                "" if one.peak_mib is None else f"{one.peak_mib:,.0f} MiB",
                count(one.parameters),
                count(one.backbone_parameters),
            ]
        )
    columns = ["method", "trials", "reruns", "final runs", "failed", "images", "views", "pixels"]
    columns += ["time", "memory", "parameters", "of the backbone"]
    note = (
        f"All runs of training together; the budget is equal in {study.settings.get('unit')}. "
        "Views are the augmented images that went through the network."
    )
    return Section("What was spent", [Table(columns, rows, note=note)])


def of_settings(study: Study) -> Section:
    """What is held, what differs, and the study file."""
    section = Section("What was held, and what differs")
    held = [str(path) for path in study.settings.get("held") or []]
    configs = {method: _planned(study, method) for method in study.methods}
    options = {m: one.get("options") or {} for m, one in _methods(study).items()}
    first = next((config for config in configs.values() if config), {})
    differ = differing(study, [run for run in study.runs if run.config], held)
    rows = []
    for path in held:
        named = {str(one[path]) for one in options.values() if path in one}
        value = ", ".join(sorted(named)) or short(_at(first, path))
        other = [key for key in differ if key == path or key.startswith(f"{path}.")]
        rows.append([path, value, "no: " + ", ".join(other) if other else "yes"])
    columns = ["held", "value", "equal in all runs"]
    section.blocks.append(Table(columns, rows, words=frozenset({0, 1, 2})))
    if others := _others(study, configs, options):
        section.blocks.append(others)
    allowed = [str(one) for one in study.settings.get("allow_differ") or []]
    if allowed:
        section.blocks.append(Text(f"Allowed to differ: {', '.join(allowed)}."))
    return section


def _methods(study: Study) -> dict[str, dict[str, Any]]:
    return dict(study.plan.get("methods") or {})


def _planned(study: Study, method: str) -> dict[str, Any]:
    """A method's config as planned, else that of its first run."""
    file = study.folder.configs / f"{method}.yaml"
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    except (OSError, yaml.YAMLError):
        found = None
    if isinstance(found, dict):
        return found
    run = next((run for run in study.runs if run.row.method == method and run.config), None)
    return run.folder.read_config() if run else {}


def _at(config: dict[str, Any], path: str) -> Any:
    node: Any = config
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _others(
    study: Study, configs: dict[str, dict[str, Any]], options: dict[str, dict[str, Any]]
) -> Block | None:
    """What differs between the methods besides the methods themselves."""
    searched = study.searched()
    flat = {
        method: {
            key: short(value)
            for key, value in flattened(config).items()
            if key.split(".")[0] not in _NOT_SHOWN and not key.endswith("_target_")
        }
        for method, config in configs.items()
        if config
    }
    groups = sorted(
        {group for one in options.values() for group in one if group.split("/")[0] != "method"}
    )
    found: dict[str, list[str]] = {}
    for group in groups:
        cells = [str(options.get(method, {}).get(group, "")) for method in flat]
        if len(set(cells)) > 1:
            found[group] = cells
    for key in dict.fromkeys(key for one in flat.values() for key in one):
        cells = [one.get(key, "") for one in flat.values()]
        below = any(key.startswith(f"{group}.") for group in found)
        if len(set(cells)) > 1 and key not in searched and not below:
            found[key] = cells
    if not found:
        return Text("Besides the methods' own settings and what was searched, nothing differs.")
    rows = [[key, *cells] for key, cells in list(found.items())[:_MOST_SETTINGS]]
    columns = ["differs", *flat]
    words = frozenset(range(len(columns)))
    return Table(columns, rows, words=words, note="Besides the settings of the method itself.")


def of_runs(study: Study) -> Section:
    """Every run, failures too."""
    share = metric_named(study.metric).is_share
    rows = [_run(run, share) for run in [*study.trials, *study.finals]]
    unit = " (%)" if share else ""
    columns = ["method", "stage", "trial", "seed", "fold", "status", f"{study.metric}{unit}"]
    columns += ["values", "images", "time", "folder", "error"]
    table = Table(columns, rows, words=frozenset({0, 1, 5, 7, 10, 11}))
    return Section(f"Every run ({len(rows)})", [table], folded=True)


def _run(run: Run, share: bool) -> list[str]:
    row = run.row
    try:
        given = json.loads(row.values)
    except ValueError:
        given = {}
    seconds = run.result.get("seconds", row.seconds)
    error = " ".join(str(run.result.get("error") or "").split())
    return [
        row.method,
        row.stage,
        str(row.trial) if row.trial >= 0 else "",
        str(row.seed),
        str(row.fold),
        run.status,
        score(run.score if row.stage != "ceiling" else None, share),
        values(given) if isinstance(given, dict) else "",
        count(run.images if run.images is not None else row.images_seen),
        "" if seconds is None else duration(float(seconds)),
        row.folder,
        error if len(error) <= _LONGEST else f"{error[:_LONGEST]}…",
    ]


def of_provenance(study: Study) -> Section:
    """Code, libraries, device, data."""
    runs = [run for run in study.runs if run.result]
    lines = []
    if study.plan.get("created"):
        lines.append(f"planned {study.plan['created']}")
    if study.selection.get("sealed"):
        lines.append(f"selection sealed {study.selection['sealed']}")
    for name in ("code", "device"):
        found = sorted({str(value) for run in runs if (value := run.fact(name))})
        if found:
            lines.append(f"{name}: {', '.join(found)}")
    versions = next((run.fact("versions") for run in runs if run.fact("versions")), None)
    if isinstance(versions, str):
        try:
            versions = json.loads(versions)
        except ValueError:
            versions = None
    if versions:
        lines.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    data = study.plan.get("data") or {}
    if data.get("images"):
        images = ", ".join(f"{part} {n:,}" for part, n in data["images"].items() if n is not None)
        lines.append(f"images: {images}, in {len(data.get('classes') or [])} classes")
    head = study.folder.settings.read_text(encoding="utf-8").splitlines()
    lines += [line.lstrip("# ") for line in head if line.startswith("#")]
    lines += [str(note) for note in study.plan.get("notes") or []]
    return Section("Where it comes from", [Lines(lines)] if lines else [])
