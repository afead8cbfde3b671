"""A file is whole or not there."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

import pytest

from ssl_zoo.types import UserError
from ssl_zoo.writing import write_atomically, write_new, write_text


def test_a_new_file_has_the_rights_that_any_file_has(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "é")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "é".encode()
    (tmp_path / "plain").touch()
    rights = [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "new/a.txt", tmp_path / "plain")]
    assert rights[0] == rights[1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, UserError])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, error: type) -> None:
    write_text(tmp_path / "a.txt", "old")

    def half(file: IO[bytes]) -> None:
        file.write(b"ne")
        raise error

    with pytest.raises(error):
        write_atomically(tmp_path / "a.txt", half)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_leftovers_of_killed_processes_are_removed_after_a_day(tmp_path: Path) -> None:
    old, young = f"{'0' * 32}.tmp", f"{'1' * 32}.tmp"
    for name in (old, young, "his own.tmp"):
        (tmp_path / name).touch()
    for name in (old, "his own.tmp"):
        os.utime(tmp_path / name, (1e9, 1e9))
    write_atomically(tmp_path / "a.bin", lambda file: file.write(b"abc"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [young, "a.bin", "his own.tmp"]
    assert (tmp_path / "a.bin").read_bytes() == b"abc"


def test_what_cannot_be_written_is_one_line_with_the_callers_fix(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot write .*file/a\.bin: [\w ]+; give out=DIR$"):
        write_text(tmp_path / "file" / "a.bin", "", fix="give out=DIR")
    with pytest.raises(UserError, match=r"^cannot write .*file/a\.bin: [\w ]+$"):
        write_text(tmp_path / "file" / "a.bin", "")


def test_of_two_that_make_a_file_one_does(tmp_path: Path) -> None:
    assert write_new(tmp_path / "a.txt", "one")
    assert not write_new(tmp_path / "a.txt", "two")
    assert (tmp_path / "a.txt").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
