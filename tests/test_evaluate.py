"""evaluate.py on what a real run left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from helpers.paths import ROOT
from helpers.programs import composed, run_evaluate, run_train, train_on_folder
from helpers.tiers import only
from helpers.trees import write_images
from ssl_zoo.config import options_of
from ssl_zoo.evaluate import evaluate
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.table import print_runs
from ssl_zoo.types import UserError

ROWS = ["pretrained", "random init", "raw pixels"]

QUICK = ["protocol=linear", "protocol.linear.epochs=2"]

# --- protocols ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["knn", "linear"])
def test_rows_and_their_file(run: Path, protocol: str) -> None:
    overrides = QUICK if protocol == "linear" else []
    result = run_evaluate(f"ckpt={run}", *overrides)
    assert json.loads((run / "evaluation" / f"{protocol}.json").read_text()) == result
    assert list(result["rows"]) == ROWS
    for scores in result["rows"].values():
        tops = [value for name, value in scores.items() if "top1" in name and "class" not in name]
        assert len(tops) == (3 if protocol == "linear" else 7)
        assert all(0 <= top <= 1 for top in tops)
        assert scores["protocol_id"] == result["protocol_id"]
        assert scores["num_encoded"] == 360
    assert result["num_images"] == {"train": 270, "val": 30, "test": 60}
    assert len({str(scores) for scores in result["rows"].values()}) == 3


def test_table_of_all_protocols(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    knn = run_evaluate(f"ckpt={run}")["rows"]
    linear = run_evaluate(f"ckpt={run}", *QUICK)["rows"]
    capsys.readouterr()
    print_runs([run])
    table = capsys.readouterr().out
    assert table.index("knn") < table.index("linear")
    for row, name in zip(ROWS, [run.name, *ROWS[1:]], strict=True):
        (line,) = [line for line in table.splitlines() if line.startswith(f"│ {name} ")]
        cells = [cell.strip() for cell in line.strip("│ ").split("│")]
        assert cells[0] == name
        assert cells[-2:] == [f"{100 * s[row]['test_top1']:.1f}" for s in (knn, linear)]
    assert "interrupted" not in table


def test_scores_of_a_run_that_was_killed_are_told(
    run: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(run)
    folder.write_result(folder.read_result() | {"status": "running"})
    for source in (run, folder.last):
        caplog.clear()
        run_evaluate(f"ckpt={source}", "baselines=false")
        assert f"warning: {run} is interrupted: its scores are those of" in caplog.text
    print_runs([run])
    assert f"{run.name}: scored as the last checkpoint that was saved" in capsys.readouterr().out


@pytest.mark.slow
def test_random_weights_alone(tmp_path: Path) -> None:
    small = ["dataset.splits.num_train=200", "dataset.splits.num_test=50", "backbone.widths=[8]"]
    overrides = ["ckpt=random", "backbone.strides=[2]", f"out={tmp_path}", *small]
    result = run_evaluate(*overrides)
    assert list(result["rows"]) == ["random init", "raw pixels"]
    assert json.loads((tmp_path / "knn.json").read_text()) == result
    other = run_evaluate(*overrides, "seed=1")["rows"]
    assert other["raw pixels"] == result["rows"]["raw pixels"]
    assert other["random init"] != result["rows"]["random init"]


def test_a_file_scores_as_its_run(run: Path) -> None:
    whole = run_evaluate(f"ckpt={run}", "baselines=false")["rows"]
    assert list(whole) == ["pretrained"]
    last = run / "checkpoints" / "last.ckpt"
    assert run_evaluate(f"ckpt={last}", "baselines=false")["rows"] == whole
    loose = Path(shutil.copy(last, run / "weights.ckpt"))
    result = run_evaluate(f"ckpt={loose}", "baselines=false", f"out={run / 'elsewhere'}")
    assert result["rows"] == whole
    assert (run / "elsewhere" / "knn.json").is_file()


@pytest.mark.slow
def test_a_function_of_its_config(run: Path, tmp_path: Path) -> None:
    """Twice in one process, composed from Python, gives what the command line gives."""
    other = run_train(tmp_path / "other", "seed=1", "callbacks=none")
    calls = [[f"ckpt={run}"], [f"ckpt={other}", "dataset=digits"]]
    calls = [[*call, "baselines=false"] for call in calls]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    programs = [
        subprocess.Popen(
            [sys.executable, "evaluate.py", *call, f"out={tmp_path / str(i)}"], cwd=ROOT, env=env
        )
        for i, call in enumerate(calls)
    ]
    assert not HydraConfig.initialized()
    here = [evaluate(composed(*call, f"out={tmp_path / 'here'}"))["knn"] for call in calls]
    assert [result["dataset"]["name"] for result in here] == ["shapes", "digits"]
    assert [program.wait() for program in programs] == [0, 0]
    for i, result in enumerate(here):
        assert json.loads((tmp_path / str(i) / "knn.json").read_text()) == result


def test_nothing_of_it_looks_at_the_command_line() -> None:
    files = [p for p in (ROOT / "ssl_zoo" / "protocols").rglob("*.py") if p.name != "table.py"]
    assert len(files) > 15
    for path in files:
        for word in ("HydraConfig", "task_overrides", "sys.argv"):
            assert word not in path.read_text(), path


# --- the data set ---------------------------------------------------------------------------------


def test_knobs_of_the_data_set_are_carried_into_its_wiring(run: Path) -> None:
    overrides = ["dataset.splits.num_test=40", "dataset.val_fraction=0.5", "baselines=false"]
    result = run_evaluate(f"ckpt={run}", *overrides)
    assert result["num_images"] == {"train": 150, "val": 150, "test": 40}
    assert result["dataset"]["splits"]["num_test"] == 40
    for knob in ("dataset.root=/tmp", "dataset.class_depth=2", "dataset.name=other"):
        key = knob.split("=")[0]
        with pytest.raises(UserError, match=f"^{key} is not a knob of the checkpoint's data set$"):
            run_evaluate(f"ckpt={run}", knob)


@pytest.mark.slow
def test_null_is_a_value_and_not_what_was_saved(tmp_path: Path) -> None:
    run = run_train(tmp_path / "run", "dataset.class_split=hash", "callbacks=none")
    with pytest.raises(UserError, match=r"or dataset\.class_split=null$"):
        run_evaluate(f"ckpt={run}", "baselines=false")
    result = run_evaluate(f"ckpt={run}", "baselines=false", "dataset.class_split=null")
    assert result["num_images"] == {"train": 270, "val": 30, "test": 60}


def test_another_data_set(run: Path) -> None:
    result = run_evaluate(f"ckpt={run}", "dataset=digits", "baselines=false")
    assert result["num_images"]["test"] == 360
    assert result["rows"]["pretrained"]["test_top1"] > 0.5  # digits are easy
    assert json.loads((run / "evaluation" / "knn_digits.json").read_text()) == result
    run_evaluate(f"ckpt={run}", "dataset=digits", "dataset.name=numbers", "baselines=false")
    assert (run / "evaluation" / "knn_numbers.json").is_file()


def test_a_data_set_is_named_as_its_file() -> None:
    names = [name for name in options_of("dataset") if name != "base"]
    assert "saved" in names
    for name in names:
        assert composed("ckpt=x", f"dataset={name}").dataset.name == name


@pytest.mark.slow
def test_random_weights_take_shapes(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    small = ["dataset.splits.num_train=100", "dataset.splits.num_test=20", "backbone.widths=[8]"]
    base = ["ckpt=random", *small, "backbone.strides=[2]", "protocol.knn.ks=[20]"]
    caplog.set_level("INFO", "ssl_zoo")
    saved = run_evaluate(*base, f"out={tmp_path / 'saved'}")
    assert "ckpt=random is scored on shapes; dataset=NAME chooses another data set" in caplog.text
    named = run_evaluate(*base, "dataset=shapes", f"out={tmp_path / 'named'}")
    assert saved == named
    with pytest.raises(UserError, match=r"^dataset\.root is not a knob of dataset=shapes$"):
        run_evaluate(*base, "dataset.root=/tmp")


@pytest.mark.slow
def test_linear_of_the_same_seed(run: Path) -> None:
    overrides = [f"ckpt={run}", *QUICK, "protocol.linear.batch_size=64"]
    first = run_evaluate(*overrides)["rows"]
    assert run_evaluate(*overrides)["rows"] == first
    assert run_evaluate(*overrides, "seed=3")["rows"] != first


# --- a folder that was moved ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("sizes", only([[32]], [[32], [32, 40, 56]]), ids=["equal", "mixed"])
def test_a_moved_folder(tmp_path: Path, sizes: list[int]) -> None:
    old = write_images(tmp_path / "old", sizes)
    run = train_on_folder(old, tmp_path / "run")
    before = run_evaluate(f"ckpt={run}")
    new = old.rename(tmp_path / "new")
    with pytest.raises(UserError, match="old does not exist"):
        run_evaluate(f"ckpt={run}")
    after = run_evaluate(f"ckpt={run}", f"dataset.root={new}")
    assert after["rows"] == before["rows"]
    assert after["num_images"] == before["num_images"]
    assert after["dataset"]["root"] == str(new)


# --- bad input is one line ------------------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo[UserError]) -> None:
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint(run: Path) -> None:
    path = run / "checkpoints" / "last.ckpt"
    content = path.read_bytes()
    for bad in (content[: len(content) // 2], b"", b"\x00" * 1000):
        path.write_bytes(bad)
        with pytest.raises(UserError, match=r"last\.ckpt is not a readable checkpoint") as error:
            run_evaluate(f"ckpt={run}")
        one_line(error)


@pytest.mark.parametrize("content", [{"state_dict": {}}, torch.zeros(3), [1], {"ssl_zoo": {}}])
def test_a_foreign_torch_file(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match=r"foreign\.pt was not saved by ssl_zoo") as error:
        run_evaluate(f"ckpt={tmp_path / 'foreign.pt'}")
    one_line(error)


def test_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist") as error:
        run_evaluate(f"ckpt={tmp_path / 'nowhere'}")
    one_line(error)
    with pytest.raises(UserError, match=r"holds no checkpoints/last\.ckpt") as error:
        run_evaluate(f"ckpt={tmp_path}")
    one_line(error)


@pytest.mark.parametrize(
    ("labelled", "test", "said"),
    [(False, True, "has no labels"), (True, False, "has no test images")],
)
def test_a_data_set_that_cannot_be_scored(
    run: Path, tmp_path: Path, labelled: bool, test: bool, said: str
) -> None:
    root = write_images(tmp_path / "images", [32], labelled, test)
    data = [f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    with pytest.raises(UserError, match=said) as error:
        run_evaluate(f"ckpt={run}", "dataset=folder", *data)
    one_line(error)


def test_no_validation_images(run: Path) -> None:
    with pytest.raises(UserError, match="val_fraction") as error:
        run_evaluate(f"ckpt={run}", "protocol=linear", "dataset.val_fraction=0")
    one_line(error)


def test_a_headline_that_is_not_scored(run: Path) -> None:
    with pytest.raises(UserError, match=r"k=7: must be among ks=\[10, 20, 100, 200\]") as error:
        run_evaluate(f"ckpt={run}", "protocol.knn.k=7")
    one_line(error)
