"""What a person sees who stops a run in a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from helpers.programs import FOLDER_TINY
from helpers.trees import make_tree

if sys.platform == "win32":
    pytest.skip("no pseudo-terminals", allow_module_level=True)

from helpers.terminal import Terminal

LINE = "stopping after this step; repeat to stop at once"


@pytest.mark.slow
@pytest.mark.parametrize("bar", [True, False])
def test_ctrl_c_is_answered_once_and_on_its_own_line(tmp_path: Path, bar: bool) -> None:
    """Ctrl-C reaches the run and the two workers that read its files."""
    tree = make_tree(tmp_path / "tree", [(40, 32), (32, 48)], 24)
    folder = [f"dataset.root={tree}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    run = ["batch_size=8", "epochs=500", f"hydra.run.dir={tmp_path / 'run'}"]
    shown = [] if bar else ["trainer.enable_progress_bar=false"]
    knobs = [*FOLDER_TINY, "dataset=folder", *folder, "dataset.image_size=32", *run, *shown]
    terminal = Terminal("train.py", *knobs)
    # after the first epoch both workers have read
    terminal.read_until(lambda text: "steps left" in text)
    terminal.type("\x03")
    terminal.read_until(lambda text: "continue with" in text)
    assert terminal.process.wait() == 130
    lines = terminal.lines()
    assert lines.count(LINE) == 1, terminal.text
    assert terminal.text.count(LINE) == 1
    (last,) = [line for line in lines if "continue with" in line]
    assert last.startswith("stopped by SIGINT at step ")
    (forecast,) = [line for line in lines if "steps left" in line]
    assert forecast.startswith("about ")
