"""Features of every image of a data set, written to files for other programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_zoo.console import info
from ssl_zoo.data.loaders import CleanLoader
from ssl_zoo.extras import need
from ssl_zoo.figures import draw_maps, save
from ssl_zoo.figures.maps import MIN_POINTS
from ssl_zoo.protocols.base import Protocol
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.types import BadValue, UserError
from ssl_zoo.writing import write_atomically

_ELSEWHERE = "set protocol.embed.out to another folder"
_ROW_GROUP = 8192  # rows that a reader of Parquet loads at once: 64 MB of 2,048 features


class Table(NamedTuple):
    """One row per image; in order of path if there are paths, else split by split.

    Attributes:
        features: (N, D) float32.
        label: (N,) int64, -1 = none.
        split: (N,) train, val or test.
        place: (N,) paths, or positions in the original data set.
        class_names: Names by label; empty if there are no labels.
    """

    features: NDArray[np.float32]
    label: NDArray[np.int64]
    split: NDArray[np.str_]
    place: NDArray[Any]
    class_names: NDArray[np.str_]

    @property
    def place_name(self) -> str:
        """The name of `place` in the files: path or index."""
        return "path" if self.place.dtype.kind == "U" else "index"


class Embed(Protocol):
    """`features.npz` and `features.parquet`: the clean features of all images of all splits.

    The images go through `preprocess` and `backbone` as `ssl_zoo.load_backbone` gives them (with
    what knobs such as `dataset.image_size` replace), each once, including unlabelled ones. The
    arrays are features (N, D) float32, label (N,) int64 with -1 = none, split, class_names, and
    path, or index if the data set has no files. In Parquet, features are lists of fixed size and
    class_name is a column, null for unlabelled images.

    All features are held in memory, briefly three times: for 1.3 million images x 2,048, 3 x 11
    GB. The device holds them once or twice while encoding.

    Args:
        formats: npz, parquet or both.
        out: Folder of the files; None = beside the JSON.

    Raises:
        UserError: If a format is unknown, or its library is missing; in `score`, if features are
            not finite or the folder cannot be written.
    """

    headline = "num_images"
    columns = ("num_images", "num_features")
    floors = ()

    def __init__(self, formats: Sequence[str], out: str | None) -> None:
        if isinstance(formats, str) or not formats or not set(formats) <= _WRITERS.keys():
            given = formats if isinstance(formats, str) else list(formats)
            raise BadValue("formats", given, "a list of npz and parquet")
        if "parquet" in formats:
            need("parquet", "pyarrow", instead="set protocol.embed.formats=[npz]")
        self.formats, self.out = list(formats), out

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`num_images`, `num_features`, and the `files` written."""
        table = _table(candidate)
        folder = candidate.folder if self.out is None else Path(str(self.out)).expanduser()
        stem = "features" if candidate.name == "pretrained" else f"features_{_slug(candidate.name)}"
        files = []
        for kind in dict.fromkeys(self.formats):
            path = folder / f"{stem}{candidate.suffix}.{kind}"
            write_atomically(path, partial(_WRITERS[kind], table), _ELSEWHERE)
            files.append(str(path))
        info(f"{candidate.name}: features of {len(table.label)} images in {', '.join(files)}")
        if (path_of_map := candidate.figure("map")) is not None:
            _draw(table, path_of_map)
        return {
            "num_images": len(table.label),
            "num_features": table.features.shape[1],
            "files": files,
        }


# --- the rows -------------------------------------------------------------------------------------


def _table(candidate: Candidate) -> Table:
    data = candidate.data
    splits = {"train": data.train, "val": data.val, "test": data.test}
    parts = {name: images for name, images in splits.items() if images is not None and len(images)}
    loaders = [
        CleanLoader(images, candidate.preprocess, candidate.batch_size, data.num_workers)
        for images in parts.values()
    ]
    encoded = candidate.encode(loaders, f"{candidate.name}: encode")
    names = [name for name, images in parts.items() for _ in range(len(images))]
    place = np.concatenate([images.places() for images in parts.values()])
    by_path = place.dtype.kind == "U"
    order = np.argsort(place, kind="stable") if by_path else np.arange(len(place))
    table = Table(
        features=torch.cat([split.representation for split in encoded]).cpu().numpy()[order],
        label=torch.cat([split.label for split in encoded]).cpu().numpy()[order],
        split=np.array(names)[order],
        place=place[order],
        class_names=np.array(data.class_names, dtype=np.str_),
    )
    _check_finite(table)
    return table


def _check_finite(table: Table) -> None:
    broken = np.flatnonzero(~np.isfinite(table.features).all(axis=1))
    if len(broken):
        raise UserError(
            f"the features of {len(broken)} of {len(table.label)} images hold NaN or infinity, "
            f"{table.place_name} {table.place[broken[0]]} first: check that pretraining went well"
        )


def _draw(table: Table, path: Path) -> None:
    if len(table.label) < MIN_POINTS:
        info(f"no map: {len(table.label)} images are too few")
        return
    features, label = torch.from_numpy(table.features), torch.from_numpy(table.label)
    save(draw_maps(features, label, table.class_names.tolist()), path)


# --- the files ------------------------------------------------------------------------------------


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def _write_npz(table: Table, file: IO[bytes]) -> None:
    columns = table._asdict()
    columns[table.place_name] = columns.pop("place")
    np.savez(file, **columns)


def _write_parquet(table: Table, file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = table.features.shape[1]
    names = [str(table.class_names[i]) if i >= 0 else None for i in table.label]
    try:
        columns = {
            table.place_name: pa.array(table.place.tolist()),
            "split": pa.array(table.split.tolist()),
            "label": pa.array(table.label),
            "class_name": pa.array(names, pa.string()),
            "features": pa.FixedSizeListArray.from_arrays(pa.array(table.features.ravel()), width),
        }
    except UnicodeEncodeError as error:
        raise UserError(
            f"{error.object!r} is not UTF-8, which Parquet requires: rename it, "
            "or set formats=[npz]"
        ) from error
    pq.write_table(pa.table(columns), file, row_group_size=_ROW_GROUP)


_WRITERS: dict[str, Callable[[Table, IO[bytes]], None]] = {
    "npz": _write_npz,
    "parquet": _write_parquet,
}
