"""Hours: runs that are killed at any step, and the quick recipes as they are. `make soak`."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from helpers.configs import TINY
from helpers.runs import assert_equal, reached, start, state

pytestmark = pytest.mark.soak

LONG = [*TINY, "dataset.splits.num_train=2000", "epochs=8", "batch_size=32", "callbacks=none"]


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_again_and_again_ends_like_any_other(
    seed: int, tmp_path: Path
) -> None:
    whole = start(*LONG, f"hydra.run.dir={tmp_path / 'whole'}")
    output = whole.communicate()[0]
    assert whole.returncode == 0, output
    folder = tmp_path / "killed"
    run = start(*LONG, f"hydra.run.dir={folder}")
    for step in sorted(random.Random(seed).sample(range(60, 430), 5)):  # of 448, 56 an epoch
        while not reached(folder, step):
            assert run.poll() is None, run.communicate()[0]
        run.kill()
        run.wait()
        run = start(f"resume={folder}")
    output = run.communicate()[0]
    assert run.returncode == 0, output
    ours, theirs = state(folder), state(tmp_path / "whole")
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_equal(ours[part], theirs[part], part)
    assert json.loads((folder / "result.json").read_text())["status"] == "finished"


# kNN top-1 on test of docs/results.md, in %, less about four standard deviations of its seeds.
QUICK = {"simclr": 78, "moco": 59, "instdisc": 60, "byol": 66, "simsiam": 90}


@pytest.mark.parametrize("method", QUICK)
def test_a_quick_recipe_learns_what_it_says(method: str, tmp_path: Path) -> None:
    run = start(f"experiment={method}_quick", "seed=0", f"hydra.run.dir={tmp_path / 'run'}")
    output = run.communicate()[0]
    assert run.returncode == 0, output
    scored = start(f"ckpt={tmp_path / 'run'}", "protocol=knn", program="evaluate.py")
    output = scored.communicate()[0]
    assert scored.returncode == 0, output
    rows = json.loads((tmp_path / "run" / "evaluation" / "knn.json").read_text())["rows"]
    assert 100 * rows["pretrained"]["test_top1"] > QUICK[method] > 50
    assert 100 * rows["random init"]["test_top1"] < 30
