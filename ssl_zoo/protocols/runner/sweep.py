"""The runs of a sweep, each evaluated as if it were alone, and their settings in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from ssl_zoo.checkpoints import Source, hints_of, open_source
from ssl_zoo.config import to_plain
from ssl_zoo.console import info, warn
from ssl_zoo.multirun import is_sweep, results_in
from ssl_zoo.protocols.base import FLOORS, Protocol
from ssl_zoo.protocols.runner.results import Results, free_path, protocol_id
from ssl_zoo.protocols.runner.settings import Scored, keep_settings, run_of, tell_repeated
from ssl_zoo.run_folder import ENDED, RunFolder
from ssl_zoo.types import UserError

Score = Callable[[DictConfig, list[Source]], tuple[Results, dict[str, Protocol]]]


class Member(NamedTuple):
    """One of the backbones of a sweep.

    Attributes:
        name: Its row.
        ckpt: The source.
    """

    name: str
    ckpt: str

    @property
    def run(self) -> RunFolder | None:
        """Its folder; None if it is no run of ours."""
        run = run_of(self.ckpt)
        return run if run.read_result() else None


class Sweep(NamedTuple):
    """Runs that are compared.

    Attributes:
        folder: Where the comparison is written.
        members: The finished runs, and sources that were given beside sweeps.
        suffix: Distinguishes the comparison's files from those of the folder's sweep alone.
    """

    folder: Path
    members: list[Member]
    suffix: str


def runs_of(ckpts: Sequence[str]) -> Sweep | None:
    """The runs in the folders of sweeps among the sources; None if none is such a folder.

    Raises:
        UserError: If a folder holds no finished run, or a run is given twice.
    """
    folders = [path for ckpt in ckpts if _holds_runs(path := Path(ckpt).expanduser())]
    if not folders:
        return None
    members: list[Member] = []
    distinct = len({path.name for path in folders}) == len(folders)
    for ckpt in ckpts:
        path = Path(ckpt).expanduser()
        if path not in folders:
            members.append(Member(ckpt, ckpt))
            continue
        prefix = "" if len(ckpts) == 1 else f"{path.name if distinct else path}/"
        members += [Member(prefix + name, str(path / name)) for name in _finished(path)]
    _check_once(members)
    suffix = "" if len(ckpts) == 1 else f"_{'_'.join(Path(ckpt).stem for ckpt in ckpts)[:60]}"
    return Sweep(folders[0], members, suffix)


def _check_once(members: Sequence[Member]) -> None:
    """Refuse a run that is given twice, beside its sweep for instance: it would count twice."""
    seen: set[Path] = set()
    for member in members:
        if (path := Path(member.ckpt).expanduser().resolve()) in seen:
            raise UserError(f"ckpt names {member.ckpt} twice: name each run once")
        seen.add(path)


def _holds_runs(path: Path) -> bool:
    run = RunFolder(path)
    is_run = run.result.exists() or run.last.exists() or run.best.exists()
    return path.is_dir() and not is_run and (is_sweep(path) or bool(results_in(path)))


def _finished(folder: Path) -> list[str]:
    """The names of the runs that are evaluated; says which are not, and why."""
    left_out: dict[str, str] = {}
    began = results_in(folder)
    for name, result in began:
        run = RunFolder(folder / name)
        if result.get("status") not in ENDED:
            left_out[name] = str(result.get("status"))
        elif not (run.last.is_file() or run.best.is_file()):
            left_out[name] = "without a checkpoint"
    finished = [name for name, _ in began if name not in left_out]
    below = [path.name for path in sorted(folder.iterdir()) if _holds_runs(path)]
    left_out |= dict.fromkeys(below, "a folder of runs")
    listed = ", ".join(f"{name} is {why}" for name, why in left_out.items())
    said = f"{folder} holds {len(began)} runs, {len(finished)} of them finished"
    if not finished:
        raise UserError(f"{said}: {listed or 'there is nothing to evaluate'}")
    info(said)
    if left_out:
        warn(f"left out of {folder}: {listed}")
    return finished


def score_each(cfg: DictConfig, sweep: Sweep, score: Score) -> dict[str, Any]:
    """Evaluate each run as `ckpt=RUN` does, then write and print their settings.

    Args:
        cfg: As composed.
        sweep: The runs.
        score: Evaluates sources and writes their results.

    Returns:
        By protocol, what the sweep's file holds: a row for each run, and `settings`.

    Raises:
        UserError: If the first run is refused, or none can be read; others are left out.
    """
    scored: list[_Done] = []
    protocols: dict[str, Protocol] = {}
    refused: list[UserError] = []
    majorities: dict[str, None] = {}  # a line for each data set
    hints = hints_of(to_plain(cfg))
    for member in sweep.members:
        try:
            source = open_source(member.ckpt, cfg.features, hints)
        except UserError as error:
            warn(f"{member.name} is left out: {error}")
            refused.append(error)
            continue
        try:
            results, protocols = score(_config_of(cfg, member), [source])
        except UserError as error:
            if not scored:  # what is wrong with the first would be wrong with all
                raise
            warn(f"{member.name} is left out: {error}")
            continue
        scored.append(_Done(member, results.written, results.suffix))
        majorities |= dict.fromkeys(filter(None, [results.majority]))
        info(f"{member.name}: {_headlines(results.written, protocols)}")
    if not scored:
        raise refused[0]
    tell_repeated({one.member.name: run for one in scored if (run := one.member.run) is not None})
    together = {name: _together(cfg, sweep, scored, p, name) for name, p in protocols.items()}
    print(*majorities, sep="\n", end="\n" if majorities else "")
    return together


class _Done(NamedTuple):
    """A run that was evaluated: what its files hold, and the end of their names."""

    member: Member
    written: dict[str, Any]
    suffix: str

    def row(self, name: str) -> dict[str, Any]:
        """Its scores by a protocol."""
        row: dict[str, Any] = self.written[name]["rows"]["pretrained"]
        return row


def _config_of(cfg: DictConfig, member: Member) -> DictConfig:
    """The evaluation of one run; what is written to one place is written to a folder for each."""
    one = cfg.copy()
    one.ckpt = member.ckpt
    for node in (one, *one.protocol.values()):
        if node.get("out") is not None:
            node.out = str(Path(str(node.out)) / member.name.replace("/", "_"))
    return one


def _headlines(written: dict[str, Any], protocols: dict[str, Protocol]) -> str:
    heads = {n: written[n]["rows"]["pretrained"][p.headline] for n, p in protocols.items()}
    return ", ".join(f"{name} {value:.4g}" for name, value in heads.items() if value is not None)


def _together(
    cfg: DictConfig, sweep: Sweep, scored: Sequence[_Done], protocol: Protocol, name: str
) -> dict[str, Any]:
    """What the sweep's file of a protocol holds; it is written and printed."""
    files = [one.written[name] for one in scored]
    runs = [Scored(one.member.name, one.member.run, one.row(name)) for one in scored]
    floors = _floors([(one.member.name, one.written[name]["rows"]) for one in scored])
    ids = list(dict.fromkeys(one.row["protocol_id"] for one in runs))
    config = to_plain(cfg)
    result = {key: files[0][key] for key in files[0] if _shared(key, files)}
    result |= {"ckpt": config["ckpt"], "protocol": config["protocol"][name]}
    result["protocol_id"] = ids[0] if len(ids) == 1 else protocol_id(sorted(ids), None)
    result["rows"] = {one.name: one.row for one in runs} | floors
    placed = config["out"] is not None
    folder = Path(config["out"]).expanduser() if placed else RunFolder(sweep.folder).evaluation
    path = folder / f"{name}{'' if placed else sweep.suffix + scored[0].suffix}.json"
    keep_settings(free_path(path, result), result, runs, protocol, name, floors)
    return result


def _shared(key: str, files: Sequence[dict[str, Any]]) -> bool:
    return key != "rows" and all(file.get(key) == files[0][key] for file in files)


def _floors(files: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Random weights and raw pixels: once, or for each run whose are others."""
    found: dict[str, dict[str, Any]] = {}
    for floor in FLOORS:
        rows = [(member, rows[floor]) for member, rows in files if floor in rows]
        distinct = [one for i, one in enumerate(rows) if one[1] not in [r for _, r in rows[:i]]]
        for member, row in distinct:
            found[floor if len(distinct) == 1 else f"{floor} ({member})"] = row
    return found
