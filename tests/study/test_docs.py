"""docs/studies.md says what is."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.paths import ROOT
from ssl_zoo.study.guards import GUARDS
from ssl_zoo.study.settings import read_settings

PAGE = (ROOT / "docs" / "studies.md").read_text()


def test_the_study_file_is_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    file = tmp_path / "mine.yaml"
    file.write_text(block)
    settings = read_settings([f"study={file}"])
    assert list(settings.methods) == ["simclr", "simsiam"]
    assert settings.protocols == ["knn", "linear"]
    assert settings.allow_differ == []


def test_each_guard_has_its_row() -> None:
    rows = re.findall(r"^\| (G\d+) \|", PAGE, re.M)
    assert rows == list(GUARDS)
