"""The package and the configs of docs/extend.md, on disk and importable."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.paths import ROOT
from ssl_zoo.data.datasets import shapes

EXTEND = ROOT / "docs" / "extend.md"


def write_own_parts(folder: Path) -> Path:
    """Write every code block that begins with its path, and a data set, images.npz."""
    for block in re.findall(r"```(?:python|yaml)\n(# my.*?)```", EXTEND.read_text(), re.S):
        path, _, text = block.removeprefix("# ").partition("\n")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "mylab" / "__init__.py").write_text("")
    data = shapes(num_train=200, num_test=40, seed=0)
    arrays = {"class_names": np.array(data.class_names)}
    for split, images in (("train", data.train), ("test", data.test)):
        pixels = next(iter(images.clean_batches([np.arange(len(images))], lambda x: x, 0)))
        arrays[f"{split}_images"] = pixels.permute(0, 2, 3, 1).numpy()
        arrays[f"{split}_labels"] = images.labels.numpy()
    np.savez(folder / "images.npz", **arrays)
    return folder


@contextmanager
def importable(folder: Path, package: str) -> Iterator[None]:
    """A package in a folder can be imported inside, and is forgotten after."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            del sys.modules[name]


def commands() -> list[str]:
    """The command lines of docs/extend.md, without the export of PYTHONPATH."""
    block = re.search(r"```bash\n(.*?)```", EXTEND.read_text(), re.S)
    assert block
    lines = block.group(1).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("python ")]
