"""The names in a run folder, and what is read from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from helpers.configs import Make
from helpers.locks import heard, say, script
from helpers.paths import ROOT
from ssl_zoo.lock import locked
from ssl_zoo.run_folder import RunFolder, moved, new_folder
from ssl_zoo.types import UserError

CONFIG = {
    "run_dir": "/old/run",
    "logger": {"wandb": {"folder": "/old/run"}},
    "other": "/old/runner",
}


def test_the_names_are_a_file_format() -> None:
    folder = RunFolder("runs/x")
    names = {name: str(p.relative_to("runs/x")) for name, p in vars(folder).items()}
    assert names == {
        "path": ".",
        "config": "config.yaml",
        "metrics": "metrics.csv",
        "result": "result.json",
        "lock": "lock.json",
        "wandb": "wandb.json",
        "skipped": "skipped_images.txt",
        "checkpoints": "checkpoints",
        "last": "checkpoints/last.ckpt",
        "best": "checkpoints/best.ckpt",
        "figures": "figures",
        "evaluation": "evaluation",
    }


def test_the_list_of_skipped_images_has_one_name(make_config: Make, tmp_path: Path) -> None:
    cfg = make_config("dataset=folder", "dataset.root=x", "name=test", tiny=False)
    listed = OmegaConf.select(cfg, "dataset.splits.skipped_list")
    assert Path(listed) == RunFolder(tmp_path / "run").skipped


def test_a_config_comes_back_as_it_was_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.start(CONFIG | {"run_dir": str(tmp_path / "run")}, "python train.py 'name=\udce9'")
    assert folder.config.read_text().startswith("# python train.py 'name=\\udce9'\nrun_dir: ")
    assert folder.read_config()["logger"] == CONFIG["logger"]


def test_a_moved_folders_config_has_the_new_paths(tmp_path: Path) -> None:
    RunFolder(tmp_path).config.write_text(yaml.safe_dump(CONFIG))
    here = str(tmp_path.resolve())
    config = RunFolder(tmp_path).read_config()
    assert config == {
        "run_dir": here,
        "logger": {"wandb": {"folder": here}},
        "other": "/old/runner",
    }
    assert moved(["/old/run/a", 3, "x/old/run"], "/old/run", "new") == ["new/a", 3, "x/old/run"]


def test_a_run_is_not_written_over_but_one_that_never_saved_is(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.start(CONFIG, "one")
    folder.append_metrics(0, {"train/loss": 1.0})
    folder.start(CONFIG, "two")
    assert folder.read_metrics() == {}
    folder.checkpoints.mkdir()
    folder.last.touch()
    with pytest.raises(UserError, match=r"run holds a run: continue with resume=.*run, or choose"):
        folder.start(CONFIG, "three")
    assert folder.config.read_text().startswith("# two\n")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot write .*yaml: .*; choose another folder$"):
        RunFolder(tmp_path / "file" / "run").start(CONFIG, "one")


def test_of_a_steps_rows_the_last_one_holds(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    assert folder.read_metrics() == {}
    folder.append_metrics(1, {"a": 1.0, "b": 2.0})
    folder.append_metrics(0, {"a": 3.0})
    folder.append_metrics(1, {"a": 4.0}, epoch=0, images_seen=128)
    for cut in ("2", "2,0,64", "2,0,64,a", "2,0,64,a,"):  # a kill in the middle of a line
        with folder.metrics.open("a") as file:
            file.write(f"{cut}\n")
    assert folder.metrics.read_text().count("step,epoch,images_seen,name,value") == 1
    assert folder.read_metrics() == {"a": [(0, 3.0), (1, 4.0)], "b": [(1, 2.0)]}


def test_a_result_comes_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_result() == {}
    folder.write_result({"status": "failed", "error": "é"})
    assert folder.read_result() == {"status": "failed", "error": "é"}
    assert not list(tmp_path.glob("*.tmp"))


def test_the_programs_spell_no_name_of_a_run_folder() -> None:
    """What writes and watches a run asks `RunFolder`."""
    names = ("last.ckpt", "best.ckpt", "config.yaml", "metrics.csv", "result.json", "figures")
    files = [*(ROOT / "ssl_zoo/training").glob("*.py"), *(ROOT / "ssl_zoo/callbacks").glob("*.py")]
    for path in files:
        for name in names:
            assert f'"{name}"' not in path.read_text(), f"{path} spells {name}"


def test_a_finished_run_is_not_started_again_even_without_its_checkpoints(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_result({"status": "finished"})
    with pytest.raises(UserError, match=r"holds a run: choose another folder$"):
        folder.start(CONFIG, "two")
    assert list(tmp_path.iterdir()) == [folder.result]


def test_a_run_that_nobody_writes_is_interrupted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_result({"status": "running"})
    with locked(tmp_path):
        assert folder.read_result()["status"] == "running"
        assert f"{tmp_path} is running: " in folder.unfinished()
    assert folder.read_result()["status"] == "interrupted"
    assert f"{tmp_path} is interrupted: " in folder.unfinished()
    folder.write_result({"status": "finished"})
    assert folder.read_result()["status"] == "finished"
    assert folder.unfinished() == ""


MAKE = """
import sys
from pathlib import Path
from ssl_zoo.run_folder import new_folder
print("ready", flush=True)
sys.stdin.readline()
print(*[new_folder(Path(sys.argv[1])).name for _ in range(40)], flush=True)
"""


def test_a_new_folder_is_nobody_elses(tmp_path: Path) -> None:
    processes = [script(MAKE, tmp_path / "runs" / "x") for _ in range(2)]
    for process in processes:
        assert heard(process) == "ready"
    for process in processes:
        say(process)
    names = [name for process in processes for name in process.communicate()[0].split()]
    assert sorted(names) == sorted(["x", *(f"x-{n}" for n in range(2, 81))])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot make .*; choose another folder$"):
        new_folder(tmp_path / "file" / "x")
