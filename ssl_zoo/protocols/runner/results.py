"""What an evaluation leaves behind: a JSON file for each protocol, and a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ssl_zoo.checkpoints import Source
from ssl_zoo.console import print_table
from ssl_zoo.data import DataModule
from ssl_zoo.hardware import has_native_bf16
from ssl_zoo.protocols.candidate import Task
from ssl_zoo.protocols.runner.candidates import CONCATENATED
from ssl_zoo.protocols.runner.saved import result_folder
from ssl_zoo.types import UserError

# Where things lie and how fast they are read: not what a score means.
_PLACES = {"root", "out", "num_workers"}
_VERSION = 1  # raise it when code changes what a protocol's settings mean


def protocol_id(settings: Any, data: Any) -> str:
    """A hash of what defines a score; figures of different ids do not belong in one column.

    Args:
        settings: The protocol's config; knobs that name places do not count.
        data: What identifies the images, their preparation and their splits.
    """
    text = json.dumps([_VERSION, _without_places(settings), data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _without_places(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_places(value) for key, value in node.items() if key not in _PLACES}
    return node


def _data_identity(data: DataModule) -> dict[str, Any]:
    """What is scored, whatever folder it lies in."""
    splits = [data.train, data.val, *([] if data.test is None else [data.test])]
    return {
        "labels": [_hash(json.dumps(split.labels.tolist()).encode()) for split in splits],
        "images": [split.fingerprint() for split in splits],
        "class_names": data.class_names,
        "image_size": data.preprocess.image_size,
        "crop_fraction": data.preprocess.crop_fraction,
    }


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Results:
    """Collects rows and writes them as they come.

    Args:
        config: Of the evaluation, plain.
        sources: The checkpoints.
        make_data: The data module.

    Attributes:
        written: By protocol, what its file holds.
    """

    def __init__(
        self, config: dict[str, Any], sources: list[Source], make_data: Callable[[], DataModule]
    ) -> None:
        self.config, self.sources, self.make_data = config, sources, make_data
        dataset = HydraConfig.get().runtime.choices["dataset"] if HydraConfig.initialized() else ""
        self.folder, self.suffix = result_folder(sources, dataset, config["features"])
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

    def figures(self, name: str) -> Path:
        """How the names of a protocol's pictures begin."""
        return self.folder / "figures" / (name + self.suffix)

    def add(self, name: str, protocol: Any, task: Task, scores: dict[str, Any]) -> None:
        """Keep one row, and write the file anew."""
        if name not in self.written:
            self.written[name] = self._head(name, protocol)
            self.paths[name] = self._path(name)
        result = self.written[name]
        if task.name == CONCATENATED:
            rows = list(result["rows"].values())
            result["rows"][f"separated (mean of {len(rows)})"] = _mean(rows)
        row = {"protocol_id": result["protocol_id"], **scores, "num_encoded": task.num_encoded}
        result["rows"][task.name] = row
        self.paths[name].write_text(json.dumps(result, indent=2) + "\n")

    def _path(self, name: str) -> Path:
        """A file of other settings or data keeps its place; this one gets its id in its name."""
        path = self.folder / f"{name}{self.suffix}.json"
        new = self.written[name]["protocol_id"]
        if path.exists() and json.loads(path.read_text()).get("protocol_id") != new:
            return path.with_stem(f"{path.stem}_{new}")
        return path

    def _head(self, name: str, protocol: Any) -> dict[str, Any]:
        settings, output = self.config["protocol"][name], self.sources[0].output
        ckpts = [source.ckpt for source in self.sources]
        head = {
            "ckpt": ckpts[0] if len(ckpts) == 1 else ckpts,
            "protocol": settings,
            "headline": protocol.headline,
            "features": output,
            "encoded_in": "bfloat16" if has_native_bf16() else "float32",
            "seed": self.config["seed"],
        }
        if protocol.needs == "nothing":  # it reads images of its own
            identity = protocol.identity()
        else:
            data = self.make_data()
            identity = _data_identity(data)
            head["dataset"] = self.config["dataset"]
            head["num_images"] = {
                "train": len(data.train),
                "val": len(data.val),
                "test": len(data.test or []),
            }
        return head | {"protocol_id": protocol_id(settings, [identity, output]), "rows": {}}

    def report(self, protocols: dict[str, Any]) -> None:
        """Print what the rows scored, and where it is written."""
        if len(protocols) == 1:
            ((name, protocol),) = protocols.items()
            columns = {_title(key): (name, key) for key in _columns(protocol)}
            title = f"{name} (id {self.written[name]['protocol_id']})"
        else:
            columns = {name: (name, protocol.headline) for name, protocol in protocols.items()}
            title = "headlines"
        names = list(dict.fromkeys(row for r in self.written.values() for row in r["rows"]))
        table = [
            [
                row,
                *(_cell(self.written[p]["rows"].get(row, {}).get(k)) for p, k in columns.values()),
            ]
            for row in names
        ]
        print_table(f"{title}: shares in %", ["", *columns], table)
        print("written to " + ", ".join(map(str, self.paths.values())))


def _columns(protocol: Any) -> tuple[str, ...]:
    """The keys of a protocol's table, its headline first."""
    return tuple(getattr(protocol, "columns", (protocol.headline,)))


def _title(key: str) -> str:
    return key.removeprefix("test_").replace("top1_", "").replace("_", " ")


def _cell(value: Any) -> str:
    """A share as per cent, a count as it is, nothing where a row has no such score."""
    if value is None:
        return ""
    return f"{100 * value:.1f}" if isinstance(value, float) else str(value)


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each figure that all rows have."""
    scored = ("test_", "val_")
    keys = [k for k, value in rows[0].items() if isinstance(value, float) and k.startswith(scored)]
    return {key: sum(row[key] for row in rows) / len(rows) for key in keys}
