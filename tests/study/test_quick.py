"""study=quick and study=reality_check from files to the report, on photos that a test draws."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.studies import start_study
from ssl_zoo.study.folder import FINAL, HPO, RunRow, StudyFolder, read_rows

QUICK = ["study=quick", "dataset=folder"]
SMALL = ["dataset.image_size=16", "batch_size=16", "dataset.num_workers=0", "precision=32-true"]


def draw(root: Path, kinds: int, each: int) -> Path:
    """Photos of several sizes: discs and squares of a colour on noise."""
    random = np.random.default_rng(0)
    for kind in range(kinds):
        (root / f"kind{kind:02}").mkdir(parents=True)
        for i in range(each):
            width, height = (int(n) for n in random.integers(24, 40, 2))
            noise = random.integers(60, 200, (height, width, 3), dtype=np.uint8)
            image = Image.fromarray(noise)
            box = [4 + i % 5, 4, 18 + i % 5, 18]
            colour = (40 * kind % 256, 255 - 30 * kind % 256, 128)
            pen = ImageDraw.Draw(image)
            (pen.ellipse if kind % 2 else pen.rectangle)(box, fill=colour)
            image.save(root / f"kind{kind:02}" / f"{i:03}.jpg", quality=95)
    return root


def study(*args: str) -> tuple[int, str]:
    process = start_study(*args)
    output, _ = process.communicate()
    return process.returncode, output


@pytest.mark.slow
def test_photos_without_folders_are_refused_in_a_line(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    draw(tmp_path / "photos", 1, 12)
    (tmp_path / "photos" / "kind00").rename(flat)
    place = [f"dataset.root={flat}", f"out={tmp_path / 'study'}"]
    code, output = study("run", *QUICK, *SMALL, *place)
    assert code == 2
    last = output.splitlines()[-1]
    assert last.startswith("error: ")
    assert "put the images of each class into a folder of its own" in last


@pytest.mark.soak
def test_quick_ends_with_the_winners_backbone(tmp_path: Path) -> None:
    photos = draw(tmp_path / "photos", 2, 50)
    place = [f"dataset.root={photos}", f"out={tmp_path / 'study'}"]
    smaller = ["methods=[simclr,moco]", "trials=2", "seeds=2", "rerun.configs=0", "epochs=2"]
    args = ("run", *QUICK, *SMALL, *place, *smaller, "budget=2h")
    code, output = study(*args)
    assert code in (0, 2), output  # 2: of a checkout with changes
    *_, command = output.strip().splitlines()
    assert any(
        said in output for said in ("cannot tell them apart", "relied on", "may differ on other")
    )
    assert command.startswith("take it home: ssl-zoo export ")
    program, *words, file = command.removeprefix("take it home: ").split()
    installed = Path(sys.executable).with_name(program)
    subprocess.run([installed, *words, tmp_path / file], check=True)
    assert (tmp_path / file).is_file()
    report = (tmp_path / "study" / "report.md").read_text()
    assert "a score on it is" in report  # of few images
    rows = read_rows(StudyFolder(tmp_path / "study").trials, RunRow)
    assert [sum(r.method == m and r.stage == HPO for r in rows) for m in ("simclr", "moco")] == [
        2,
        2,
    ]
    code_again, again = study(*args)  # nothing is left to do
    assert (code_again, again.strip().splitlines()[-1]) == (code, command)


@pytest.mark.soak
def test_quick_keeps_its_budget(tmp_path: Path) -> None:
    """300 images, 30 minutes: by far the longest test."""
    photos = draw(tmp_path / "photos", 3, 100)
    begun = monotonic()
    place = [f"dataset.root={photos}", f"out={tmp_path / 'study'}"]
    code, output = study("run", *QUICK, *place, "budget=30min")
    assert code in (0, 2), output
    assert 0.9 <= (monotonic() - begun) / 1800 <= 1.1
    folder = StudyFolder(tmp_path / "study")
    planned = list(folder.read_json(folder.plan)["methods"])
    for file, stage in ((folder.trials, HPO), (folder.finals, FINAL)):
        rows = [row for row in read_rows(file, RunRow) if row.stage == stage]
        assert len({sum(row.method == name for row in rows) for name in planned}) == 1


@pytest.mark.soak
def test_the_reality_check_runs_on_a_folder_of_classes(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_metric_learning")
    classes = draw(tmp_path / "classes", 20, 6)
    code, output = study(
        *("run", "study=reality_check", f"dataset.root={classes}", f"out={tmp_path / 'study'}"),
        *("methods=[contrastive,triplet]", "trials=3", "seeds=2", "init=null", "backbone=convnet"),
        *("method.freeze_batchnorm=false", "optimizer.base_lr=1e-3", "epochs=1"),
        *("dataset.image_size=16", "batch_size=8", "dataset.num_workers=0", "oracle=false"),
    )
    assert code in (0, 2), output
    report = json.loads((tmp_path / "study" / "report.json").read_text())
    assert report["unfinished"] == []
    suites = {row["suite"] for row in report["summary"] if row["kind"] == "method"}
    assert suites == {"retrieval, separated", "retrieval, concatenated"}
    assert {row["metric"] for row in report["summary"]} == {"test_map_at_r"}
