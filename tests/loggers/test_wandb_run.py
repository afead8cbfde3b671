"""W&B's run behind our logger, without training: rows, axes, segments, summaries, artifacts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import wandb

from helpers.paths import ROOT
from helpers.wandb_reader import OfflineRun, offline_runs
from ssl_zoo.loggers import WandbRun, count_images, start, wandb_logger
from ssl_zoo.metric_names import AXES
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.steps import Rhythm
from ssl_zoo.types import BadValue


class Parts(NamedTuple):
    """A run of two offline parts."""

    folder: RunFolder
    first: OfflineRun
    second: OfflineRun


def opened(folder: RunFolder, **options: object) -> WandbRun:
    """A logger of a run, open, with axes on its rows."""
    logger = wandb_logger(str(folder), "mine", "name", mode="offline", **options)  # type: ignore[arg-type]
    start([logger], {"seed": 0, "init": None}, options={"method": "moco"})
    count_images([logger], Rhythm(batches=2, accumulate=1, images=10), lambda: 7.5)
    return logger


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_RUN_ID", "of_all_jobs")
        folder = RunFolder(tmp_path_factory.mktemp("run"))
        git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "other"], check=True)
        folder.checkpoints.mkdir()
        folder.last.write_bytes(b"weights")
        logger = opened(folder, group="sweep", log_model=True, tags=["a", 7])
        logger.log_metrics({"train/loss": 3.0}, step=4)
        logger.log_metrics({"val/knn_top1": 0.5}, step=4)
        for _ in range(5):
            logger.experiment.log({"of_the_user": 1})  # W&B has passed step 4 then
        logger.log_metrics({"lr/all": 0.1}, step=4)
        logger.log_metrics({"val/knn_top1": 0.2}, step=6)
        folder.append_metrics(4, {"val/knn_top1": 0.5})
        logger.alert("a title", "a text")
        logger.close(exit_code=130)

        again = opened(folder, group="sweep")
        again.log_metrics({"val/knn_top1": 0.3}, step=7)
        again.close(exit_code=0)
        wandb.teardown()  # waits until all is on disk
        yield Parts(folder, *offline_runs(folder.path))
        wandb.teardown()


def test_a_resumed_run_goes_on_under_its_id(parts: Parts) -> None:
    assert parts.first.id == parts.second.id == parts.folder.read_wandb()["id"]
    assert parts.first.id != "of_all_jobs", "a sweep's jobs have their own ids"
    assert parts.folder.read_wandb()["options"] == {"method": "moco"}
    assert [row["_step"] for row in parts.second.history] == [7]
    assert parts.first.history[-1]["_step"] == 6
    assert (parts.first.exit_code, parts.second.exit_code) == (130, 0)


def test_what_is_logged_at_a_step_is_one_row_with_all_axes(parts: Parts) -> None:
    ours = [row for row in parts.first.history if "of_the_user" not in row]
    place = [[row[axis] for axis in AXES] for row in ours]
    assert place == [[4, 2, 50, 7.5], [6, 3, 70, 7.5]]
    assert ours[0] | {"train/loss": 3.0, "val/knn_top1": 0.5, "lr/all": 0.1} == ours[0]
    assert set(AXES) <= {metric.name for metric in parts.first.metrics}


def test_the_last_and_the_best_have_names_that_say_so(parts: Parts) -> None:
    summary = parts.first.summary
    assert (summary["val/knn_top1"], summary["val/knn_top1_best"]) == (0.2, 0.5)
    assert summary["seconds"] == 7.5
    summary = parts.second.summary
    assert (summary["val/knn_top1"], summary["val/knn_top1_best"]) == (0.3, 0.5), "of both parts"


def test_commit_and_changes_are_those_of_the_code(parts: Parts) -> None:
    """The run folder lies in another repository."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    changes = subprocess.run([*git, "diff", "HEAD"], capture_output=True, text=True).stdout
    assert parts.first.commit == head.strip()
    saved = list(parts.folder.path.glob("wandb/*/files/diff.patch"))
    assert bool(saved) == bool(changes.strip())
    assert all(file.read_text().startswith("diff --git") for file in saved)


def test_checkpoints_are_an_artifact(parts: Parts) -> None:
    (artifact,) = [one for one in parts.first.artifacts if one.type == "model"]
    assert artifact.name == f"checkpoints-{parts.first.id}"
    assert [entry.path for entry in artifact.manifest.contents] == ["last.ckpt"]
    assert {"latest", "step-6"} <= set(artifact.aliases)
    assert json.loads(artifact.metadata)["method"] == "moco"
    assert json.loads(artifact.metadata)["run"] == parts.first.id
    assert not parts.second.artifacts


def test_the_run_says_whose_it_is(parts: Parts) -> None:
    first = parts.first
    assert (first.group, first.job_type, first.tags) == ("sweep", "train", ["a", "7"])
    assert first.alerts == [("a title", "a text")]


def test_disabled_leaves_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    logger = wandb_logger(str(folder), "mine", "name", mode="disabled", log_model=True)
    start([logger], {"seed": 0})
    logger.log_metrics({"val/knn_top1": 0.5}, step=4)
    logger.log_image("figures/x", [], step=4)
    logger.alert("a", "b")
    logger.close(exit_code=1)
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"log_model": "some"}, "^log_model=some: must be true .at the end., all"),
        ({"group": "sweep", "id": "x"}, "^id=x would make all jobs of the sweep one W&B run"),
        ({"into_scored_run": True}, "^into_scored_run=true is for evaluate.py"),
        ({"job_type": ["a"]}, r"^job_type=\[a\]: must be a text"),
    ],
)
def test_bad_values_are_one_line(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        wandb_logger(str(tmp_path), "mine", "name", mode="offline", **options)  # type: ignore[arg-type]
