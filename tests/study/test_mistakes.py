"""What users do to studies and their files: a line that says what to do, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from helpers.studies import start_study, tiny, write_tiny
from helpers.study_folders import study
from helpers.tiers import only
from ssl_zoo.study.cli import start
from ssl_zoo.study.engine import Engine, Task
from ssl_zoo.study.folder import METHOD, RunRow, StudyFolder, read_rows, write_rows
from ssl_zoo.study.of_data import check_amounts, check_data
from ssl_zoo.study.plan import Planned, frozen_of
from ssl_zoo.study.pool import Local, Work
from ssl_zoo.study.progress import Progress
from ssl_zoo.study.report import write
from ssl_zoo.study.rows import PENDING, key_of
from ssl_zoo.study.run import check_same
from ssl_zoo.study.runs import Runs
from ssl_zoo.study.settings import read_settings
from ssl_zoo.study.space import Space, space_of
from ssl_zoo.training.machine import Stop
from ssl_zoo.types import UserError

# ---- a study's file ----

FILES = {
    "methods: {simclr: {}\ncommon: [": "cannot be read as YAML",
    "methods: {simclr: {}}\nrerun: 3": "rerun=3: give .*{configs: N, seeds: N}",
    "methods: {simclr: {}}\nrerun: {configs: 2, seed: 1}": "rerun=.*give rerun.configs=N",
    "methods: {simclr: {}}\nsubmitit: gpu": "submitit=gpu: give submitit.slurm_partition",
    "methods: {simcrl: {}}": r"methods.simcrl is not a method of train.py: did you mean simclr",
    "methods: {mine: {search: {}}}": "methods.mine is not a method.*mine: {overrides: .method=",
    'methods: {simclr: {}}\ntrials: "3"': "trials='3': give a whole number",
    "methods: {simclr: {}}\ncommon: [epochs: 3]": r"common=.*give a list of texts",
    "methods: {'..': {overrides: [method=simclr]}}": r"methods\.\.\.: a name .*begins with",
    "methods: {supervised: {overrides: [method=simclr]}}": "is none of floors, supervised, conf",
    "methods: {Floors: {overrides: [method=simclr]}}": "is none of floors",
    "methods: {moco: {}, MoCo: {overrides: [method=moco]}}": "moco and MoCo differ by upper case",
    "methods: {simclr: {}}\nprotocols: [knn, knn]": r"protocols=\[knn, knn\]: one is there twice",
    "methods: {simclr: {}}\nwaive: [G13]": r"waive=G13 is unknown",
    "methods: [simclr, mocoo]": r"methods=mocoo is not a method: did you mean moco or mocov3\?",
    "- methods": "holds no settings",
}


@pytest.mark.parametrize("text", only(["methods: {simclr: {}}\nrerun: 3"], FILES))
def test_a_file_that_is_no_study_is_refused_in_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=FILES[text]) as raised:
        read_settings([f"study={tmp_path / 'mine.yaml'}"])
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"methods: {simclr: {}} # \xff")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_settings([f"study={tmp_path / 'mine.yaml'}"])


@pytest.mark.slow
def test_methods_may_be_a_list_of_names(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("methods: [simclr, simsiam]")
    found = read_settings([f"study={tmp_path / 'mine.yaml'}"])
    assert found.methods["simsiam"] == {"overrides": ["method=simsiam"], "search": {}}


@pytest.mark.slow
def test_one_method_may_be_there_twice_under_names_of_its_own(tmp_path: Path) -> None:
    text = "methods: {a: {search: {}}, b: {}}\ncommon: [method=simclr]"
    (tmp_path / "mine.yaml").write_text(text)
    assert list(read_settings([f"study={tmp_path / 'mine.yaml'}"]).methods) == ["a", "b"]


@pytest.mark.slow
def test_a_study_may_have_any_files_name(tmp_path: Path) -> None:
    file = tmp_path / "my study (1), <b>ü='2'.yaml"
    shutil.move(write_tiny(tmp_path), file)
    settings = read_settings([f"study={file}"])
    assert settings.name == file.stem
    assert frozen_of(settings).frozen["simclr"].job.config["name"] == file.stem


ARGS = {
    "study.seeds=1": r"study.seeds=1: a knob of a study is given as seeds=1",
    "+trials=3": r"\+trials=3: a knob of a study is given as trials=VALUE",
    "method=moco": r"method=moco: all methods would become this one: give methods=\[moco\]",
    "optimizer.base_lr=0.1": r"optimizer.base_lr=0.1: optimizer.base_lr is searched for simclr",
    "method.temperature=0.1": r"method.temperature=0.1: method.temperature is searched for simclr",
    "search.backbone=choice(convnet,resnet18)": r"what chooses another part is another method",
    "search.method.temperature=choice(0.1,0.2)": r"methods.simsiam: .*below methods.NAME.search",
}


@pytest.mark.slow
@pytest.mark.parametrize("arg", ARGS)
def test_what_a_command_line_cannot_mean_is_said(arg: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=ARGS[arg]):
        frozen_of(read_settings([f"study={write_tiny(tmp_path)}", arg]))


def test_the_momentum_is_searched_where_the_reference_does() -> None:
    """1 - 10^[-3 .. -1.5] (fair_comparison.md, 2.3)."""
    for name, methods in (("five_methods", ("moco", "byol")), ("quick", ("byol",))):
        settings = read_settings([f"study={name}", "dataset.root=DIR"])
        for method in methods:
            (own,) = space_of({}, {method: settings.methods[method]["search"]}).own.values()
            (momentum,) = (one for one in own if one.knob == "method.momentum")
            values = [momentum.at(share / 10) for share in range(10)]
            assert all(1 - 10**-1.5 <= float(str(one)) <= 1 - 10**-3 for one in values), name


# ---- signals ----


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_stopped_while_it_measures_it_says_so(command: str, signum: int, tmp_path: Path) -> None:
    place = tmp_path / "out"
    process = start_study(command, f"study={write_tiny(tmp_path)}", f"out={place}")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("measuring 2 methods")
    os.kill(process.pid, signum)
    output, _ = process.communicate()
    assert process.returncode == 128 + signum
    again = {"plan": "the same command plans again", "run": "the same command goes on"}[command]
    assert output.splitlines()[-1].endswith(again)
    assert "Traceback" not in output
    assert not (place / "lock.json").exists()
    assert not (place / "plan.json").exists()


# ---- what it has spent ----


@pytest.mark.slow
def test_time_is_kept_while_children_run(tmp_path: Path) -> None:
    """Whatever they are: trials, reruns, final runs or readings of test."""
    stop, kept, ended = Stop(), list[float](), list[int]()
    progress = Progress({"runs": {}, "methods": {}, "name": "x"}, "val/knn_top1", 1)
    pool = Local(tiny(jobs=1), stop)
    output = tmp_path / "output.txt"
    task = Task("this", "this", lambda: Work("this", [], output), ended.append)
    Engine(pool, stop, progress, lambda: kept.append(monotonic())).work_off(
        lambda: [] if ended else [task]
    )
    pool.close()
    assert ended == [0]
    assert kept


# ---- files that are gone, or not what they were ----


def opened(folder: StudyFolder) -> Runs:
    """As a supervisor does that goes on."""
    methods = {row.method for row in read_rows(folder.trials, RunRow)}
    frozen: Any = dict.fromkeys(sorted(methods, reverse=True))  # simclr first, as planned
    settings = tiny(methods={name: {"overrides": [f"method={name}"]} for name in frozen})
    planned = Planned(settings, Space([], {name: [] for name in frozen}), frozen)
    one = dict.fromkeys(("steps", "seconds_per_step", "overhead_seconds", "monitor_seconds"), 1)
    plan = {
        "runs": dict.fromkeys(("hpo", "rerun", "final"), 6),
        "methods": dict.fromkeys(methods, one | {"monitorings": 1}),
        "name": "x",
    }
    return Runs(folder, planned, Progress(plan, settings.metric, 1), Stop())


@pytest.mark.slow
def test_a_final_run_without_its_weights_is_trained_again(tmp_path: Path) -> None:
    folder = study(tmp_path / "s").folder
    folder.ledger.unlink()
    runs = opened(folder)
    lost = runs.finals.rows[1]
    runs.run_folder(lost).last.unlink()
    runs.train_lost()
    assert [row for row in runs.finals.rows if row.status == PENDING] == [
        replace(lost, status=PENDING, score=None, ended="")
    ]
    assert not runs.run_folder(lost).result.exists()


@pytest.mark.slow
def test_a_final_run_by_which_test_was_opened_is_not(tmp_path: Path) -> None:
    folder = study(tmp_path / "s").folder
    runs = opened(folder)
    for row in runs.finals.rows:
        runs.run_folder(row).last.unlink()
    runs.train_lost()  # test was read by all: nothing is left to do
    assert not [row for row in runs.finals.rows if row.status == PENDING]
    lines = folder.ledger.read_text().splitlines()
    first = next(i for i, one in enumerate(lines) if json.loads(one)["purpose"] == METHOD)
    folder.ledger.write_text(f"{lines[first]}\n")
    with pytest.raises(UserError, match=r"last.ckpt is gone, and test was opened for it: restore"):
        runs.train_lost()


def pending(runs: Runs, number: int, **facts: Any) -> RunRow:
    """A trial that has ended, and whose row does not know yet."""
    row = replace(runs.trials.rows[number], status=PENDING, score=None, data_sha="")
    runs.trials.put(row)
    result = runs.run_folder(row).read_result()
    result["facts"] |= facts
    runs.run_folder(row).write_result(result)
    return row


@pytest.mark.slow
def test_images_that_have_changed_stop_the_study(tmp_path: Path) -> None:
    folder = study(tmp_path / "s").folder
    runs = opened(folder)
    row = pending(runs, 1, data_sha="others")
    with pytest.raises(UserError, match=r"read other images.*restore them and go on"):
        list(runs.ready("hpo"))
    assert runs.trials.get(key_of(row)).status == PENDING
    assert not runs.run_folder(row).last.exists()  # it is trained again, on those of before
    fine = opened(folder)
    pending(fine, 2)
    list(fine.ready("hpo"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        "no space left on the disk of /x",
        "cannot write /x/last.ckpt: No space left on device; choose another folder",
        "[Errno 27] File too large",
        "[Errno 122] Disk quota exceeded: '/x'",
    ],
)
def test_a_full_disk_is_no_result_of_a_trial(error: str, tmp_path: Path) -> None:
    folder = study(tmp_path / "s").folder
    runs = opened(folder)
    row = pending(runs, 1)
    runs.run_folder(row).fail(error)
    with pytest.raises(UserError, match="make room, and go on"):
        list(runs.ready("hpo"))
    assert runs.trials.get(key_of(row)).status == PENDING


SPOILT = {
    "plan.json": ("{", "plan.json is not JSON.*restore it"),
    "selection.json": ("[]", "selection.json holds a list; restore it"),
    "ledger.jsonl": ("what\n{}\n", "line 1 is not JSON"),
    "trials.csv": ("stage,method\nhpo,simclr\n", "is not a table of RunRows"),
    "study.yaml": ("methods: [", "is not YAML"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_file_is_named(name: str, tmp_path: Path) -> None:
    folder = study(tmp_path / "s").folder
    text, said = SPOILT[name]
    (folder.path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        write(folder)


@pytest.mark.slow
def test_a_study_that_was_only_planned_may_be_planned_again(tmp_path: Path) -> None:
    folder, began = StudyFolder(tmp_path), tiny(out=str(tmp_path))
    began.write(folder.settings, "x")
    folder.write_json(folder.plan, {"settings_sha": began.sha()})
    other = replace(began, trials=7)
    with pytest.raises(UserError, match=r"trials=7 .*plan it again, since nothing was trained"):
        check_same(folder, other)
    write_rows(folder.trials, [], RunRow)
    with pytest.raises(UserError, match="trials=7") as raised:
        check_same(folder, other)
    assert "plan it again" not in str(raised.value)


@pytest.mark.slow
def test_trials_without_their_plan_are_not_planned_anew(tmp_path: Path) -> None:
    place = tmp_path / "s"
    place.mkdir()
    file = write_tiny(tmp_path)
    write_rows(StudyFolder(place).trials, [], RunRow)
    before = sorted(place.iterdir())
    with pytest.raises(UserError, match=r"plan.json is gone, by which the trials were made"):
        start(["run", f"study={file}", f"out={place}"])
    assert sorted(place.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("metric=val/knn_top5", "by simclr: did you mean val/knn_top1"),
        ("metric=val/accuracy", "by simclr: (known: val/|did you mean)"),
        ("callbacks=none", "by simclr: nothing is, without a monitor"),
    ],
)
def test_a_metric_that_no_monitor_measures_is_refused_by_the_plan(
    more: str, said: str, tmp_path: Path
) -> None:
    file = write_tiny(tmp_path)
    with pytest.raises(UserError, match=f"^metric=val/.* is not measured on val {said}"):
        start(["plan", f"study={file}", f"out={tmp_path / 's'}", more])


@pytest.mark.slow
def test_one_class_is_nothing_to_compare_on() -> None:
    images = {"train": 20, "val": 5, "test": 5}
    for classes, said in (["cat"], "one class .cat."), ([], "one class"):
        one = {"labelled": 20, "data": {"images": images, "classes": classes}}
        with pytest.raises(UserError, match=said):
            check_data(tiny(), {"simclr": one})
    check_data(tiny(), {"simclr": one | {"data": {"images": images, "classes": ["cat", "dog"]}}})


def test_runs_of_unequal_length_are_refused_by_the_plan() -> None:
    """As G6 would at the end: an image of multi-crop has more views and pixels."""
    two, crops = 2 * 32 * 32, 2 * 32 * 32 + 4 * 16 * 16
    measured = {
        name: {"images": 900, "views": 900 * views, "pixels": 900 * pixels}
        for name, views, pixels in (("a", 2, two), ("b", 2, two), ("mine", 6, crops))
    }
    epochs = dict.fromkeys(measured, 15)
    check_amounts(tiny(), measured, epochs)  # by images
    line = r"^unit=pixels: a run of mine has 2,764,800 pixels in 15 epochs, others 1,843,200: .*"
    with pytest.raises(UserError, match=line + r"epochs=10\.0 by methods\.mine\.overrides, with"):
        check_amounts(tiny(unit="pixels"), measured, epochs)
    with pytest.raises(UserError, match=r"^unit=views: a run of mine .*epochs=5\.0 by"):
        check_amounts(tiny(unit="views"), measured, epochs)
    check_amounts(tiny(unit="pixels", waive=["G6"]), measured, epochs)
    check_amounts(tiny(unit="seconds"), measured, epochs)


@pytest.mark.slow
def test_a_folder_of_images_does_not_become_a_study(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    file = write_tiny(tmp_path)
    with pytest.raises(UserError, match=r"photos holds other folders \(cat\): give out=DIR"):
        start(["plan", f"study={file}", f"out={tmp_path / 'photos'}"])
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat"]
