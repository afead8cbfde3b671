"""Detection on BCCD from a self-supervised backbone and from random weights; an hour on two cores.

    python benchmarks/bccd.py ROOT      (Pascal VOC's layout: Annotations, ImageSets, JPEGImages)

Cuts the training and validation images (never the test images) into tiles, pretrains a ResNet-18 on
them without labels, exports it in torchvision's layout, and trains the detector from that file and
from random weights at the same schedule. Prints each command before it runs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

OUT = Path("runs/bccd")
TILE = 160  # pixels; an image of 640 x 480 has twelve


def cut_tiles(root: Path, folder: Path) -> None:
    """Tiles of the images of the trainval list."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (root / "ImageSets" / "Main" / "trainval.txt").read_text().split():
        image = Image.open(root / "JPEGImages" / f"{name}.jpg")
        for top in range(0, image.height - TILE + 1, TILE):
            for left in range(0, image.width - TILE + 1, TILE):
                tile = image.crop((left, top, left + TILE, top + TILE))
                tile.save(folder / f"{name}_{top}_{left}.png")


def run(*command: str) -> None:
    print("\n$ python", " ".join(command), flush=True)
    subprocess.run([sys.executable, *command], check=True)


def main() -> None:
    root = Path(sys.argv[1]).expanduser()
    tiles, pretrained, exported = OUT / "tiles", OUT / "pretrained", OUT / "resnet18.pth"
    cut_tiles(root, tiles)
    if not (pretrained / "checkpoints" / "last.ckpt").exists():
        run(
            "train.py",
            "experiment=bccd_tiles",
            f"dataset.root={tiles}",
            f"hydra.run.dir={pretrained}",
        )
    run(
        "-m", "ssl_zoo.export", str(pretrained), "--format", "torchvision", str(exported), "--force"
    )
    run(
        "evaluate.py",
        f"ckpt={exported}",
        "protocol=detection",
        f"protocol.detection.root={root}",
        f"out={OUT / 'evaluation'}",
    )


if __name__ == "__main__":
    main()
