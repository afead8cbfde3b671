"""A whole study with real child processes, killed, stopped, and gone on with."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from helpers.studies import start_study, write_tiny
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.study.folder import RunRow, Score, StudyFolder, read_rows
from ssl_zoo.study.ledger import check_chain
from ssl_zoo.study.rows import sha_of_file


def run_study(*args: str) -> str:
    process = start_study("run", *args)
    output, _ = process.communicate()
    assert process.returncode in (0, 2), output  # 2: a report on a checkout with changes
    return output


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """2 methods x 2 trials x 2 seeds, from plan to results.csv."""
    place = tmp_path_factory.mktemp("study")
    run_study(f"study={write_tiny(place)}", f"out={place / 'out'}", "jobs=2")
    return StudyFolder(place / "out")


def rows_of(folder: StudyFolder) -> list[RunRow]:
    return [*read_rows(folder.trials, RunRow), *read_rows(folder.finals, RunRow)]


@pytest.mark.slow
@pytest.mark.xdist_group("study")
def test_every_run_is_there_once_and_says_what_it_was(done: StudyFolder) -> None:
    rows = rows_of(done)
    stages = [(row.stage, row.method) for row in rows]
    for method in ("simclr", "simsiam"):
        counts = [stages.count((stage, method)) for stage in ("hpo", "rerun", "final")]
        assert counts == [2, 1, 2]
        assert [r.seed for r in rows if (r.stage, r.method) == ("final", method)] == [101, 102]
    assert {row.status for row in rows} <= {"finished", "collapsed"}
    plan = done.read_json(done.plan)
    assert {row.data_sha for row in rows} == {plan["data"]["sha"]}
    assert {row.code for row in rows} == {plan["code"]}
    assert len({row.held_sha for row in rows}) == 1
    for row in rows:
        planned = plan["methods"][row.method]
        for name in ("steps", "epochs", "parameters", "backbone_parameters"):
            assert getattr(row, name) == planned[name], name
        assert row.images_seen == planned["images"]
        assert row.views_seen == planned["views"]
        assert row.pixels_seen == planned["pixels"] == 6 * 60 * 2 * 32 * 32
        assert row.score == RunFolder(done.path / row.folder).read_metrics()["val/knn_top1"][-1][1]
        assert row.peak_mib
        assert row.checkpoint_sha == sha_of_file(RunFolder(done.path / row.folder).last)
    # the same views for a seed, whatever the method; others for another seed
    views = {(row.seed, row.views_sha) for row in rows}
    assert len({seed for seed, _ in views}) == len(views) == 4


@pytest.mark.slow
@pytest.mark.xdist_group("study")
def test_methods_share_what_they_share(done: StudyFolder) -> None:
    rates: dict[str, list[float]] = {}
    for row in read_rows(done.trials, RunRow):
        values = json.loads(row.values)
        rates.setdefault(row.method, []).append(values["optimizer.base_lr"])
        config = RunFolder(done.path / row.folder).read_config()
        assert config["optimizer"]["base_lr"] == values["optimizer.base_lr"]
        assert config["seed"] == row.seed
    assert rates["simclr"][:2] == rates["simsiam"][:2]


@pytest.mark.slow
@pytest.mark.xdist_group("study")
def test_the_selection_is_sealed_before_test_is_read(done: StudyFolder) -> None:
    selection = done.read_json(done.selection)
    assert selection["trials_sha"] == sha_of_file(done.trials)
    assert selection["plan_sha"] == sha_of_file(done.plan)
    finals = read_rows(done.finals, RunRow)
    for row in finals:
        chosen = selection["methods"][row.method]
        assert (row.trial, row.config_sha) == (chosen["trial"], chosen["config_sha"])
        assert json.loads(row.values) == chosen["values"]
        assert chosen["n"] == 2
    entries = done.read_ledger()
    check_chain(done.ledger.read_text().splitlines(), done.ledger)
    assert {one["selection_sha"] for one in entries} == {sha_of_file(done.selection)}
    by_id = {one["id"]: [e["status"] for e in entries if e["id"] == one["id"]] for one in entries}
    assert set(map(tuple, by_id.values())) == {("opened", "read")}
    assert len(by_id) == 4 + 2
    for row in finals:
        (read,) = {one["checkpoint_sha"] for one in entries if one["folder"] == row.folder}
        assert read == row.checkpoint_sha
    for row in read_rows(done.trials, RunRow):
        run = RunFolder(done.path / row.folder)
        assert not run.evaluation.exists()
        assert not [name for name in run.read_metrics() if name.startswith("test")]


@pytest.mark.slow
@pytest.mark.xdist_group("study")
def test_results_have_methods_and_floors_side_by_side(done: StudyFolder) -> None:
    heads = [score for score in read_rows(done.results, Score) if score.is_headline]
    kinds = sorted((score.kind, score.method, score.seed) for score in heads)
    assert kinds == [
        *(("floor", name, seed) for name in ("random init", "raw pixels") for seed in (101, 102)),
        *(("method", name, seed) for name in ("simclr", "simsiam") for seed in (101, 102)),
    ]
    assert len({score.protocol_id for score in heads}) == 1
    assert {score.num_test for score in heads} == {40}


@pytest.mark.slow
@pytest.mark.xdist_group("study")
def test_a_study_that_is_done_does_nothing_again(done: StudyFolder) -> None:
    files = [done.trials, done.finals, done.ledger, done.results, done.selection]
    before = [file.read_bytes() for file in files]
    run_study(str(done))
    assert [file.read_bytes() for file in files] == before


@pytest.mark.slow
@pytest.mark.xdist_group("study")
def test_it_goes_on_with_its_own_settings_only(done: StudyFolder) -> None:
    file = write_tiny(done.path.parent, trials=3)
    process = start_study("run", f"study={file}", f"out={done}")
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "holds another study: trials=3 (was 2)" in output
    assert "Traceback" not in output


def outcome(folder: StudyFolder) -> dict[str, Any]:
    """What must not depend on how often a study was interrupted."""
    selection = folder.read_json(folder.selection)["methods"]
    rows = [
        (r.stage, r.method, r.trial, r.seed, r.values, r.score, r.status, r.views_sha)
        for r in rows_of(folder)
    ]
    results = sorted(folder.results.read_text().splitlines())
    return {"selection": selection, "rows": rows, "results": results}


def ended(folder: StudyFolder) -> list[RunRow]:
    return [row for row in rows_of(folder) if row.status != "pending"]


def stop(study: subprocess.Popen[str], signum: int, folder: StudyFolder, runs: int) -> None:
    """Signal a study a moment after so many of its runs have ended, and wait until it has."""
    while len(ended(folder)) < runs:
        with suppress(subprocess.TimeoutExpired):
            assert study.wait(0.1) is None, "it ended before"
    with suppress(subprocess.TimeoutExpired):
        study.wait(random.Random(runs).uniform(0, 4))
    os.kill(study.pid, signum)
    study.communicate()


def weights(folder: StudyFolder) -> dict[str, int]:
    """When the checkpoints of the runs that have ended were written."""
    return {
        row.folder: RunFolder(folder.path / row.folder).last.stat().st_mtime_ns
        for row in ended(folder)
    }


@pytest.mark.soak
@pytest.mark.xdist_group("study")
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_interrupted_three_times_it_ends_the_same(
    done: StudyFolder, signum: int, tmp_path: Path
) -> None:
    args = ["run", f"study={write_tiny(tmp_path)}", f"out={tmp_path / 'out'}", "jobs=2"]
    folder, trained = StudyFolder(tmp_path / "out"), dict[str, int]()
    for runs in sorted(random.Random(int(signum)).sample(range(9), 3)):  # of ten
        stop(start_study(*args), signum, folder, runs)
        if folder.trials.is_file():
            assert trained.items() <= weights(folder).items()  # no run is trained again
            trained = weights(folder)
    run_study(*args[1:])
    assert trained.items() <= weights(folder).items()
    assert outcome(folder) == outcome(done)


@pytest.mark.soak
@pytest.mark.xdist_group("study")
def test_a_copy_goes_on_and_trains_what_was_lost(done: StudyFolder, tmp_path: Path) -> None:
    copy = StudyFolder(shutil.copytree(done.path, tmp_path / "copy [b] (1)"))
    for file in (copy.ledger, copy.results):  # as before test was read
        file.unlink()
    for evaluation in copy.path.glob("finals/*/*/evaluation"):
        shutil.rmtree(evaluation)
    lost = read_rows(copy.finals, RunRow)[0]
    RunFolder(copy.path / lost.folder).last.unlink()
    process = start_study("run", str(copy))
    output, _ = process.communicate()
    assert f"{lost.folder} has no last.ckpt any more: it is trained again" in output
    assert outcome(copy) == outcome(done)


@pytest.mark.soak
@pytest.mark.xdist_group("study")
def test_a_second_supervisor_is_refused_and_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    args = ["run", f"study={write_tiny(tmp_path)}", f"out={tmp_path / 'out'}", "jobs=2"]
    process = start_study(*args)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trials/"):
            break
    second = start_study(*args)
    output, _ = second.communicate()
    assert (second.returncode, "is being written by process" in output) == (2, True)
    os.kill(process.pid, signal.SIGINT)
    sleep(1.5)  # sooner it would count as the same signal, which a terminal sends to all processes
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert output.splitlines()[-1] == "stopped; the same command goes on"
    assert "Traceback" not in output
    assert not (tmp_path / "out" / "lock.json").exists()
    run_study(*args[1:])


LOCAL = ["launcher=submitit", "submitit.cluster=local", "submitit.timeout_min=30", "jobs=2"]


@pytest.mark.soak
@pytest.mark.xdist_group("study")
def test_jobs_of_submitit_end_as_local_ones(done: StudyFolder, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    run_study(f"study={write_tiny(tmp_path)}", f"out={tmp_path / 'out'}", *LOCAL)
    assert outcome(StudyFolder(tmp_path / "out")) == outcome(done)


@pytest.mark.soak
@pytest.mark.xdist_group("study")
def test_a_sampler_that_learns_searches_in_jobs_and_is_stopped(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    pytest.importorskip("optuna")
    file = write_tiny(tmp_path, trials=4, sampler="tpe")
    args, folder = [f"study={file}", f"out={tmp_path / 'out'}", *LOCAL], tmp_path / "out"
    process = start_study("run", *args)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trials/"):
            break
    os.kill(process.pid, signal.SIGTERM)
    process.communicate()
    run_study(*args)
    rows = read_rows(StudyFolder(folder).trials, RunRow)
    for method in ("simclr", "simsiam"):
        search = [row for row in rows if (row.method, row.stage) == (method, "hpo")]
        assert sorted(row.trial for row in search) == [0, 1, 2, 3]
        assert len({row.values for row in search}) == 4
    report = json.loads((folder / "report.json").read_text())
    assert report["unfinished"] == []
