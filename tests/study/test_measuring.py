"""What a plan measures, by children that stand in for steps of training."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from helpers.studies import tiny
from ssl_zoo.study import measuring
from ssl_zoo.study.clock import Clock
from ssl_zoo.study.folder import StudyFolder
from ssl_zoo.training.measure import StepTimes

# A child that is measured only beside another one, and notes that it was.
CHILD = """
import json, pathlib, sys, time, uuid
place = pathlib.Path(sys.argv[1])
here = place.parent.parent / "here"
here.mkdir(exist_ok=True)
(here / f"{place.name} {uuid.uuid4()}").touch()
until = time.monotonic() + 30
while len(list(here.iterdir())) % 2:
    if time.monotonic() > until:
        sys.exit("measured alone")
    time.sleep(0.01)
if "contents" in sys.argv:
    (place / "images.txt").write_text("{}")
(place / "measured.json").write_text(json.dumps({"seconds_per_step": 1.0, "data": {"n": 1}}))
"""


@pytest.mark.parametrize(
    ("epochs", "steps_per_epoch", "seconds"),
    [
        ([[0, 5, 6, 7], [10, 12, 13, 14], [20, 22, 23, 24]], 3, 4 / 3),  # whole: each is 4 s
        ([[0, 5, 6, 7], [10, 12, 13, 14]], 100, 1.01),  # begun only: they are 101 s
        ([[0, 5], [10, 12], [20, 22]], 1, 2.0),
    ],
)
def test_a_step_has_its_share_of_the_start_of_an_epoch(
    epochs: list[list[float]], steps_per_epoch: int, seconds: float
) -> None:
    clock = StepTimes(1)
    clock.epochs = epochs
    assert clock.seconds_per_step(steps_per_epoch) == pytest.approx(seconds)


def test_each_method_is_measured_beside_as_many_as_will_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_child.py").write_text(CHILD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(measuring, "MEASURE", "a_child")
    folder = StudyFolder(tmp_path / "study")
    job = SimpleNamespace(config={"dataset": {"name": "shapes"}})
    methods = ("simclr", "moco", "byol")
    for method in methods:
        (folder.configs / method).mkdir(parents=True)
    frozen = {method: cast(Any, SimpleNamespace(job=job, trust=())) for method in methods}
    found = measuring.measured_of(folder, tiny(jobs=2), frozen, Clock(folder))
    assert list(found) == list(methods)
    assert all(one["data"] == {"n": 1} for one in found.values())
    measured = sorted(file.name.partition(" ")[0] for file in (folder.path / "here").iterdir())
    assert measured == ["byol", "moco", "simclr", "simclr"]  # once more, for the last one
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(methods)
