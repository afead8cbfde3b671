"""The output of an evaluation: a JSON file for each protocol, and a table."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ssl_zoo.checkpoints import Source, find_checkpoint
from ssl_zoo.checkpoints.preparation import PREPARATION
from ssl_zoo.console import print_table
from ssl_zoo.data import DataModule
from ssl_zoo.evaluation.features import STORED_IN
from ssl_zoo.metric_names import MAJORITY_SHARE
from ssl_zoo.protocols.base import Protocol
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.classification import majority_line
from ssl_zoo.protocols.runner.candidates import CONCATENATED
from ssl_zoo.protocols.runner.per_class import write_per_class
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.types import UserError
from ssl_zoo.writing import write_new, write_text

# Where things are and how fast they are read: no part of what a score means.
_PLACES = {"root", "out", "num_workers"}
# Knobs that came later: at these values a score means what it meant without them.
_AS_BEFORE = {"detections_per_image": 100}
_VERSION = 1  # raise it when code changes what a protocol's settings mean
_ENCODED_IN = {"32-true": "float32", "bf16-mixed": "bfloat16"}
_USUAL = "float32"  # of encoding and of stored features: ids say what differs from it


def protocol_id(settings: Any, data: Any) -> str:
    """A hash of what defines a score; scores with different ids do not belong in one column.

    Args:
        settings: The protocol's config; knobs that name places do not count, later ones only where
            they change something.
        data: What identifies the images, their preparation and their splits.
    """
    text = json.dumps([_VERSION, _meaning(settings), data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _meaning(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: _meaning(value)
            for key, value in node.items()
            if key not in _PLACES and (key, value) not in _AS_BEFORE.items()
        }
    return node


def result_folder(
    sources: list[Source], dataset: str, own: bool, features: str
) -> tuple[Path, str]:
    """Where results are by default, and the suffix that distinguishes their names.

    Those of several runs are beside the runs, which a sweep has in one folder, and name them.

    Args:
        sources: What is scored.
        dataset: Name of the data set.
        own: Whether it is the checkpoint's own.
        features: representation, embedding, or auto.
    """
    first = sources[0]
    if first.pretrained is None:
        return RunFolder(Path("runs") / f"random_{dataset}").evaluation, ""
    suffix = "" if own else f"_{dataset}"
    suffix += f"_{features}" if features != "auto" else ""
    if not Path(first.ckpt).expanduser().exists():  # torchvision:NAME
        folder = Path("runs") / first.ckpt.replace(":", "_").replace("/", "_")
        return RunFolder(folder).evaluation, suffix
    file = find_checkpoint(first.ckpt)
    run = RunFolder(file.parent.parent)
    in_run = file.parent == run.checkpoints
    folder = run.path if in_run else file.parent
    if len(sources) > 1:
        names = "_".join(Path(source.ckpt).stem for source in sources)
        beside = RunFolder(folder.parent if in_run else folder)
        return beside.evaluation, f"_{names[:60]}{suffix}"
    stem = "" if file.stem == "last" else f"_{file.stem}"
    return RunFolder(folder).evaluation, stem + suffix


def data_of(protocol: Protocol, candidate: Candidate) -> Any:
    """The argument of a protocol's `identity`; None if it reads its own images."""
    return None if protocol.own_data else candidate.data


def deviations(protocol: Protocol, candidate: Candidate) -> dict[str, Any]:
    """What a score depends on besides settings and data, and which is not as usual.

    A backbone's own mean and std belong to the backbone: only what replaces them counts. Size and
    crop are in `Protocol.identity`, where the protocol scores the data set's images.
    """
    names = PREPARATION if protocol.own_data else ("mean", "std")
    found = {name: candidate.changed[name] for name in names if name in candidate.changed}
    numbers = {"encoded_in": _computed_in(protocol, candidate), "stored_in": STORED_IN}
    return found | {name: kind for name, kind in numbers.items() if kind != _USUAL}


def _computed_in(protocol: Protocol, candidate: Candidate) -> str:
    trained = protocol.trains_backbone
    return encoded_in(candidate.training_precision if trained else candidate.precision)


def encoded_in(precision: str) -> str:
    """The numbers that a backbone computes with."""
    return _ENCODED_IN[precision]


class Results:
    """Collects rows and writes each as it arrives.

    Args:
        config: Config of the evaluation, plain.
        sources: The checkpoints.
        own: Whether the data set is the first checkpoint's own.

    Attributes:
        written: What the file of each protocol holds.
        majority: What the most frequent class alone would score, where classes are unequal.
    """

    def __init__(
        self,
        config: dict[str, Any],
        sources: list[Source],
        own: bool,
    ) -> None:
        self.config, self.sources = config, sources
        name = config["dataset"].get("name", "")
        self.folder, self.suffix = result_folder(sources, name, own, config["features"])
        if config["out"] is not None:
            self.folder, self.suffix = Path(config["out"]).expanduser(), ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write to {self.folder}: {error.strerror}; give out=FOLDER"
            ) from error
        self.written: dict[str, Any] = {}
        self.paths: dict[str, Path] = {}
        self._ids: dict[str, str] = {}
        self.majority: str | None = None

    def placed(self, candidate: Candidate, name: str, pictures: bool) -> Candidate:
        """The candidate, with its files placed beside the results of a protocol.

        Args:
            candidate: A row.
            name: Name of the protocol.
            pictures: Whether the row has all of them, or those that every row has.
        """
        stem = self.folder / "figures" / (name + self.suffix)
        return replace(
            candidate,
            folder=self.folder,
            suffix=self.suffix,
            figure_stem=stem,
            is_first=pictures,
        )

    def id_of(self, name: str, protocol: Protocol, candidate: Candidate) -> str:
        """The id of a row."""
        others = deviations(protocol, candidate)
        key = json.dumps([name, candidate.preprocess.options(), others])
        if key not in self._ids:
            identity = protocol.identity(data_of(protocol, candidate))
            what = [identity, self.sources[0].output, *([others] if others else [])]
            self._ids[key] = protocol_id(self.config["protocol"][name], what)
        return self._ids[key]

    def add(
        self, name: str, protocol: Protocol, candidate: Candidate, scores: dict[str, Any]
    ) -> None:
        """Add one row, and rewrite the file.

        Args:
            name: Name of the protocol.
            protocol: The protocol.
            candidate: The row.
            scores: Its scores, with the number of images encoded for them.
        """
        if name not in self.written:
            self.written[name] = self._head(name, protocol, candidate)
            self.paths[name] = free_path(
                self.folder / f"{name}{self.suffix}.json", self.written[name]
            )
        result = self.written[name]
        if candidate.name == CONCATENATED:
            rows = list(result["rows"].values())
            result["rows"][f"separated (mean of {len(rows)})"] = _mean(rows)
        row = {"protocol_id": self.id_of(name, protocol, candidate), **scores}
        result["rows"][candidate.name] = row
        write_result(self.paths[name], result)
        if not protocol.own_data:
            write_per_class(self.paths[name], result["rows"], candidate.data)
        if MAJORITY_SHARE in row:
            self.majority = _majority_of(candidate.data)

    def _head(self, name: str, protocol: Protocol, candidate: Candidate) -> dict[str, Any]:
        settings, output = self.config["protocol"][name], self.sources[0].output
        ckpts = [source.ckpt for source in self.sources]
        head = {
            "ckpt": ckpts[0] if len(ckpts) == 1 else ckpts,
            "protocol": settings,
            "headline": protocol.headline,
            "features": output,
            "encoded_in": _computed_in(protocol, candidate),
            "images": candidate.preprocess.options() | {"given": sorted(candidate.changed)},
            "seed": self.config["seed"],
        }
        if (data := data_of(protocol, candidate)) is not None:
            head["dataset"] = self.config["dataset"]
            head["num_images"] = {
                "train": len(data.train),
                "val": len(data.val),
                "test": len(data.test or []),
            }
        return head | {"protocol_id": self.id_of(name, protocol, candidate), "rows": {}}

    def report(self, protocols: dict[str, Protocol]) -> None:
        """Print the rows' scores, and where they are written."""
        if len(protocols) == 1:
            ((name, protocol),) = protocols.items()
            rows = self.written[name]["rows"].values()
            shown = [key for key in protocol.columns if any(key in row for row in rows)]
            columns = {title_of(key): (name, key) for key in shown}
            ids = {row.get("protocol_id") for row in rows}
            title = f"{name} (id {self.written[name]['protocol_id']})"
            if len(ids - {None}) > 1:  # backbones whose images are prepared in several ways
                columns["id"] = (name, "protocol_id")
        else:
            columns = {name: (name, protocol.headline) for name, protocol in protocols.items()}
            title = "headlines"
        names = list(dict.fromkeys(row for r in self.written.values() for row in r["rows"]))
        found = {
            (row, p, k): self.written[p]["rows"].get(row, {}).get(k)
            for row in names
            for p, k in columns.values()
        }
        table = [
            [row, *(_cell(found[row, p, k], protocols[p]) for p, k in columns.values())]
            for row in names
        ]
        shares = any(
            isinstance(one, float) and protocols[p].shares for (_, p, _), one in found.items()
        )
        print_table(f"{title}: shares in %" if shares else title, ["", *columns], table)
        if self.majority:
            print(self.majority)
        print("written to " + ", ".join(map(str, self.paths.values())))


def _majority_of(data: DataModule) -> str | None:
    """What the most frequent class of the scored images would score."""
    if data.test is None:
        return None
    labels = data.test.labels
    return majority_line(labels[torch.isin(labels, data.train_labels)], data.class_names)


def free_path(path: Path, result: dict[str, Any]) -> Path:
    """Where a result goes: a file with other settings or data is kept, and the id is added.

    The file is taken at once, since another evaluation of the run may look for its name too.
    """
    new = result["protocol_id"]
    taken = not write_new(path, json.dumps(result), fix="give out=FOLDER")
    if taken and json.loads(path.read_text()).get("protocol_id") != new:
        return path.with_stem(f"{path.stem}_{new}")
    return path


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write what an evaluation's file holds."""
    write_text(path, json.dumps(result, indent=2) + "\n", fix="give out=FOLDER")


def title_of(key: str) -> str:
    """A score's name in a table."""
    return key.removeprefix("test_").replace("top1_", "").replace("_", " ")


def _cell(value: Any, protocol: Protocol) -> str:
    """A share in per cent, a count unchanged, nothing if a row has no such score."""
    if value is None:
        return ""
    return protocol.shown(value) if isinstance(value, float) else str(value)


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each number that all rows have."""
    scored = ("test_", "val_")
    keys = [k for k, value in rows[0].items() if isinstance(value, float) and k.startswith(scored)]
    return {key: sum(row[key] for row in rows) / len(rows) for key in keys}
