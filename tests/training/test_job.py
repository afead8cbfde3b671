"""A whole run from its frozen config, without a supervisor around it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.configs import TINY
from helpers.paths import ROOT
from helpers.programs import run_train
from helpers.runs import assert_equal, reached, state
from ssl_zoo.provenance import code_version, library_versions
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.study.frozen import freeze
from ssl_zoo.training.child import start_child
from ssl_zoo.training.frozen import PROGRAM

SMALL = [one for one in TINY if not one.startswith("name=")]


def write_job(folder: Path, *overrides: str) -> Path:
    """A run's folder with its frozen config, and nothing else."""
    frozen = freeze("simclr", [*SMALL, *overrides], [], [], "test")
    frozen.run(folder, {}, 0, None, "test").write(folder)
    return folder


def start(folder: Path) -> subprocess.Popen[bytes]:
    return start_child(PROGRAM, [str(folder)], {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})


def trained(folder: Path) -> int:
    with start(folder) as process:
        return process.wait()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_frozen_run_is_the_run_of_train_py(tmp_path: Path) -> None:
    frozen = RunFolder(write_job(tmp_path / "frozen"))
    assert trained(frozen.path) == 0
    usual = RunFolder(run_train(tmp_path / "usual"))
    assert_equal(state(frozen.path)["state_dict"], state(usual.path)["state_dict"], "weights")
    ours, theirs = frozen.read_result(), usual.read_result()
    assert ours["metrics"].keys() == theirs["metrics"].keys()
    assert ours["choices"] == theirs["choices"]
    assert ours["status"] == "finished"
    facts = ours["facts"]
    assert facts["views_sha"] == theirs["facts"]["views_sha"]
    assert (facts["steps"], facts["epochs"], facts["images_seen"]) == (4, 1, 256)
    assert (facts["views_seen"], facts["pixels_seen"]) == (512, 512 * 32 * 32)
    assert facts["code"] == code_version()
    assert facts["versions"] == library_versions()
    assert trained(frozen.path) == 0  # once more: nothing is trained
    assert frozen.read_result() == ours


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_it_goes_on_where_it_was_stopped(signum: int, tmp_path: Path) -> None:
    longer = ["epochs=12", "monitor.every_n_epochs=12"]
    whole, cut = (write_job(tmp_path / name, *longer) for name in ("whole", "cut"))
    assert trained(whole) == 0
    with start(cut) as process:
        while process.poll() is None and not reached(cut, 20):
            pass
        process.send_signal(signum)
        code = process.wait()
    assert code in (143, -signum)
    assert RunFolder(cut).read_result()["status"] == "interrupted"
    assert trained(cut) == 0
    assert_equal(state(cut)["state_dict"], state(whole)["state_dict"], "weights")
    assert RunFolder(cut).read_result()["facts"]["steps"] == 48


@pytest.mark.slow
@pytest.mark.ddp
def test_several_processes_are_started_from_it(tmp_path: Path) -> None:
    folder = RunFolder(write_job(tmp_path / "run", "devices=2", "strategy=ddp"))
    assert trained(folder.path) == 0
    assert folder.read_result()["facts"]["processes"] == 2


@pytest.mark.slow
def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "run", "epochs=200", "monitor.every_n_epochs=200")
    code = (
        "import sys; from ssl_zoo.training.child import start_child; "
        f"child = start_child({PROGRAM!r}, [sys.argv[1]], {{}}); print(child.pid, flush=True); "
        "child.wait()"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        while not reached(folder, 8):
            assert supervisor.poll() is None
        supervisor.kill()
    while is_alive(child):
        pass
    assert RunFolder(folder).read_result()["status"] == "interrupted"
