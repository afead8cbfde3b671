"""The ledger of test."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ssl_zoo.study.folder import StudyFolder
from ssl_zoo.study.ledger import FAILED, OPENED, READ, Ledger
from ssl_zoo.types import UserError


def entry(status: str, **changes: Any) -> dict[str, Any]:
    return {"id": "a", "method": "simclr", "checkpoint_sha": "x", "status": status, **changes}


def test_each_line_names_the_one_before(tmp_path: Path) -> None:
    ledger = Ledger(StudyFolder(tmp_path))
    for status in (OPENED, OPENED, READ):
        ledger.append(entry(status))
    lines = ledger.file.read_text().splitlines()
    shas = [hashlib.sha256(line.encode()).hexdigest() for line in lines]
    assert [json.loads(line)["previous"] for line in lines] == ["", *shas[:-1]]
    again = Ledger(StudyFolder(tmp_path))
    assert again.is_closed("a")
    assert not again.is_closed("b")
    again.append(entry(OPENED, id="b"))
    assert Ledger(StudyFolder(tmp_path)).entries[-1]["previous"] == shas[-1]


def test_a_line_that_a_kill_cut_short_is_taken_away(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    Ledger(folder).append(entry(OPENED))
    with folder.ledger.open("a") as file:
        file.write('{"id": "a", "sta')
    ledger = Ledger(folder)
    assert [one["status"] for one in ledger.entries] == [OPENED]
    ledger.append(entry(READ))
    assert [one["status"] for one in Ledger(folder).entries] == [OPENED, READ]


@pytest.mark.parametrize("what", ["edited", "removed"])
def test_a_changed_line_is_noticed(what: str, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    ledger = Ledger(folder)
    for name in "abc":
        ledger.append(entry(OPENED, id=name))
    lines = folder.ledger.read_text().splitlines(keepends=True)
    if what == "edited":
        lines[1] = lines[1].replace("simclr", "moco")
    else:
        del lines[1]
    folder.ledger.write_text("".join(lines))
    number = 3 if what == "edited" else 2
    with pytest.raises(UserError, match=f"line {number} does not follow"):
        Ledger(folder)


def test_test_is_read_once_and_of_one_checkpoint(tmp_path: Path) -> None:
    ledger = Ledger(StudyFolder(tmp_path))
    ledger.append(entry(OPENED))
    with pytest.raises(UserError, match="opened for another checkpoint"):
        ledger.append(entry(OPENED, checkpoint_sha="y"))
    ledger.append(entry(READ))
    with pytest.raises(UserError, match="test was read before as a: not twice"):
        ledger.append(entry(OPENED))
    ledger.append(entry(FAILED, id="c"))
    assert ledger.is_closed("c")
