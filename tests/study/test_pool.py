"""Where a study's children run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from helpers.studies import tiny
from ssl_zoo.study.pool import Local, Pool, Submitit, Work, pool_of
from ssl_zoo.training.machine import Stop
from ssl_zoo.types import UserError

# A child that says what it was given, and ends as it is told.
CHILD = """
import os, sys, time
print(*sys.argv[1:], os.environ["GIVEN"], os.environ.get("OMP_NUM_THREADS"), flush=True)
time.sleep(float(sys.argv[2]))
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_child.py").write_text(CHILD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return "a_child"


def work(child: str, folder: Path, code: int, seconds: float = 0.0) -> Work:
    args = [str(code), str(seconds)]
    return Work(child, args, folder / f"output{code}.txt", env={"GIVEN": "this"})


def test_children_have_their_part_of_the_machine_and_their_output(
    child: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name)
    stop = Stop()
    pool = Local(tiny(jobs=2), stop)
    codes = [pool.submit(work(child, tmp_path, code)) for code in (0, 3)]
    assert [one.result() for one in codes] == [0, 3]
    pool.close()
    cores = len(os.sched_getaffinity(0))
    assert (tmp_path / "output3.txt").read_text() == f"3 0.0 this {max(1, cores // 2)}\n"


def test_a_signal_ends_what_runs_and_starts_nothing_more(child: str, tmp_path: Path) -> None:
    stop = Stop()
    pool: Pool = Local(tiny(jobs=1), stop)
    first, second = (pool.submit(work(child, tmp_path, code, 600)) for code in (1, 2))
    while not (tmp_path / "output1.txt").is_file() or not (tmp_path / "output1.txt").read_text():
        assert not first.done()
    stop.on_signal(signal.SIGTERM, None)
    assert first.result() == second.result() == -signal.SIGTERM
    assert not (tmp_path / "output2.txt").exists()
    pool.close()


@pytest.mark.slow
def test_a_cluster_runs_them_as_jobs(child: str, tmp_path: Path) -> None:
    settings = tiny(launcher="submitit", submitit={"cluster": "local", "timeout_min": 5}, jobs=2)
    pool = pool_of(settings, tmp_path, Stop())
    assert isinstance(pool, Submitit)
    codes = [pool.submit(work(child, tmp_path, code)) for code in (0, 3)]
    assert [one.result() for one in codes] == [0, 3]
    pool.close()
    assert (tmp_path / "output3.txt").read_text().startswith("3 0.0 this")


def test_what_the_cluster_refuses_is_said(tmp_path: Path) -> None:
    settings = tiny(launcher="submitit", submitit={"cluster": "local", "nonsense": 1})
    with pytest.raises(UserError, match=r"submitit=.*nonsense"):
        pool_of(settings, tmp_path, Stop())


@pytest.mark.slow
def test_a_cluster_that_is_not_known_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"submitit=.*moon"):
        pool_of(tiny(launcher="submitit", submitit={"cluster": "moon"}), tmp_path, Stop())
