"""Reads the .wandb file of an offline run.

wandb has no Python reader of its files any more (0.31 writes them in Go, and
`wandb.sdk.internal.datastore` is gone), so this takes the framing apart: a file header of 7 bytes,
then blocks of 32 KiB as in LevelDB's log, in which each chunk has a header of 7 bytes (CRC-32 of
type and data, length, type) and a record is one chunk or several. The records themselves are
parsed by wandb's own protobuf.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_FILE_HEADER = 7

_BLOCK = 32 * 1024

_CHUNK_HEADER = struct.Struct("<IHB")

_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each chunk; raises ValueError where a checksum is wrong."""
    at = _FILE_HEADER
    while at + _CHUNK_HEADER.size <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _CHUNK_HEADER.size:  # a block's end too short for a header is padding
            at += left
            continue
        checksum, length, kind = _CHUNK_HEADER.unpack_from(data, at)
        at += _CHUNK_HEADER.size
        payload = data[at : at + length]
        if zlib.crc32(bytes([kind]) + payload) != checksum:
            raise ValueError(f"wrong checksum of the chunk that ends at byte {at + length}")
        at += length
        yield kind, payload


def records(path: Path) -> Iterator[Any]:
    """The protobuf records of a .wandb file, in order."""
    data = path.read_bytes()
    assert data.startswith(b":W&B"), f"{path} is no .wandb file"
    parts: list[bytes] = []
    for kind, payload in _chunks(data):
        if kind in (_FULL, _FIRST):
            parts = []
        parts.append(payload)
        if kind in (_FULL, _LAST):
            yield Record.FromString(b"".join(parts))


@dataclass
class OfflineRun:
    """What a W&B run holds; `exit_code` is None for a run that was never finished."""

    id: str = ""
    group: str = ""
    name: str = ""
    project: str = ""
    entity: str = ""
    notes: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: list[Any] = field(default_factory=list)
    exit_code: int | None = None
    job_type: str = ""
    commit: str = ""
    alerts: list[tuple[str, str]] = field(default_factory=list)
    artifacts: list[Any] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """Names of everything that was logged over time."""
        return {name for row in self.history for name in row}


def _values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_run(path: Path) -> OfflineRun:
    """Replays a .wandb file."""
    run = OfflineRun()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.group = record.run.run_id, record.run.run_group
            run.name, run.project = record.run.display_name, record.run.project
            run.entity, run.notes = record.run.entity, record.run.notes
            run.job_type, run.commit = record.run.job_type, record.run.git.commit
            run.tags = list(record.run.tags)
            run.config.update(_values(record.run.config.update))
        elif kind == "config":
            run.config.update(_values(record.config.update))
        elif kind == "history":
            run.history.append(_values(record.history.item))
        elif kind == "summary":
            run.summary.update(_values(record.summary.update))
        elif kind == "metric":
            run.metrics.append(record.metric)
        elif kind == "alert":
            run.alerts.append((record.alert.title, record.alert.text))
        elif kind == "artifact":
            run.artifacts.append(record.artifact)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def offline_runs(folder: Path) -> list[OfflineRun]:
    """The offline runs of a folder, in the order of their beginnings."""
    return [read_run(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]
