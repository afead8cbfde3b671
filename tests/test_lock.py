"""Who writes a folder: real processes that hold it, die and race."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from helpers.locks import candidates, heard, holder, say, script
from ssl_zoo.lock import NAME, locked, writer_of
from ssl_zoo.types import UserError


def change(folder: Path, **fields: object) -> None:
    """Rewrite a lock with other fields."""
    lock = json.loads((folder / NAME).read_text())
    (folder / NAME).write_text(json.dumps(lock | fields))


def silent_for(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder / NAME, (then, then))


def left_behind(folder: Path, **fields: object) -> None:
    """The lock of this process, changed, as another process would find it."""
    with locked(folder):
        text = (folder / NAME).read_text()
    (folder / NAME).write_text(text)
    change(folder, **fields)


def test_a_folder_has_one_writer_and_none_when_it_is_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        writer = writer_of(tmp_path)
        assert writer is not None
        assert (writer.pid, writer.host) == (process.pid, socket.gethostname())
        named = rf"is being written by process {process.pid} of .* on {writer.host} since .*: wait"
        with pytest.raises(UserError, match=named), locked(tmp_path):
            pass
        assert writer_of(tmp_path) == writer  # the refusal took nothing
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table
        assert writer_of(tmp_path) is None
        process.wait()
        assert writer_of(tmp_path) is None
        with locked(tmp_path) as left:
            assert f"process {process.pid} of " in left
            assert left.endswith("wrote it last and is gone")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_of_a_folder_has_no_writer_and_a_moved_one_keeps_it(tmp_path: Path) -> None:
    run, copy, moved = (tmp_path / name for name in ("run", "copy", "moved"))
    run.mkdir()
    with holder(run):
        shutil.copytree(run, copy)
        assert writer_of(copy) is None
        run.rename(moved)
        assert writer_of(moved) is not None


def test_a_process_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    left_behind(tmp_path)
    assert writer_of(tmp_path) is not None
    change(tmp_path, started="1")
    assert writer_of(tmp_path) is None
    with locked(tmp_path) as left:
        assert "is gone" in left


@pytest.mark.parametrize("machine", [{"host": "gpu7", "machine": "gpu7 1 2"}, {"machine": "boot"}])
def test_a_process_elsewhere_is_dead_after_three_minutes(
    tmp_path: Path, machine: dict[str, str]
) -> None:
    """On another host, and on this one in another container or before a restart."""
    left_behind(tmp_path, **machine)
    silent_for(tmp_path, 170)
    assert writer_of(tmp_path) is not None
    with (
        pytest.raises(UserError, match=r"after 3 minutes without a heartbeat.*was 17\d s ago"),
        locked(tmp_path),
    ):
        pass
    silent_for(tmp_path, 190)
    assert writer_of(tmp_path) is None
    with locked(tmp_path) as left:
        assert left.endswith("has given no heartbeat for 3 minutes: taken for dead")


def test_a_lock_that_is_cut_short_counts_for_three_minutes(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    assert writer_of(tmp_path) is not None
    silent_for(tmp_path, 190)
    assert writer_of(tmp_path) is None


def test_a_writer_gives_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_zoo.lock._BEAT", 0.01)
    with locked(tmp_path):
        silent_for(tmp_path, 1000)
        while (tmp_path / NAME).stat().st_mtime < time.time() - 900:
            time.sleep(0.01)


def test_of_several_processes_one_takes_a_dead_ones_lock(tmp_path: Path) -> None:
    left_behind(tmp_path, pid=2**22 + 1)
    processes = candidates(tmp_path, 3)
    for process in processes:
        say(process)
    said = [heard(process) for process in processes]
    assert said.count("held") == 1, said
    winner = processes[said.index("held")]
    assert sum(f"is being written by process {winner.pid} " in line for line in said) == 2
    for process in processes:
        say(process)
        process.communicate()
    assert list(tmp_path.iterdir()) == []


FORK = """
import os, sys
from pathlib import Path
from ssl_zoo.lock import locked, writer_of
folder = Path(sys.argv[1])
child = -1
try:
    with locked(folder):
        child = os.fork()
        if child == 0:
            raise KeyboardInterrupt
        os.waitpid(child, 0)
        print(writer_of(folder).pid == os.getpid(), flush=True)
except KeyboardInterrupt:
    os._exit(0)
"""


@pytest.mark.filterwarnings("ignore")
def test_a_forked_child_does_not_release_it(tmp_path: Path) -> None:
    process = script(FORK, tmp_path)
    assert process.communicate()[0].split() == ["True"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot write .*lock.json: .*; choose another folder$"):
        locked(tmp_path / "file").__enter__()
