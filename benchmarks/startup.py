"""The time of `python train.py --cfg job` compared with a three-line Hydra program."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[1]
REPEATS = 11
THREE_LINES = """\
import hydra
main = hydra.main(version_base="1.3", config_path=".", config_name="c")(lambda cfg: None)
main()
"""


def seconds(command: list[str], folder: Path) -> float:
    start = perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "three.py").write_text(THREE_LINES)
        (folder / "c.yaml").write_text("x: 1\n")
        ours, theirs = [], []
        for _ in range(REPEATS):
            theirs.append(seconds([sys.executable, "three.py", "--cfg", "job"], folder))
            ours.append(seconds([sys.executable, "train.py", "--cfg", "job"], ROOT))
    for label, times in (("three-line Hydra program", theirs), ("python train.py --cfg job", ours)):
        spread = f"{min(times):.2f}-{max(times):.2f}"
        print(f"{label:28s} median {statistics.median(times):.2f} s ({spread}, n={REPEATS})")
    more = [a - b for a, b in zip(ours, theirs, strict=True)]
    spread = f"{min(more):.2f}-{max(more):.2f}"
    print(f"{'difference':28s} median {statistics.median(more):.2f} s ({spread})")


if __name__ == "__main__":
    main()
