"""Which run a job of a sweep is already: by configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from helpers.command_line import command_line
from helpers.configs import TINY
from helpers.tiers import only
from ssl_zoo.config import task_overrides, to_plain, with_absolute_places
from ssl_zoo.lock import locked
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.sweep_job import Found, found_in_sweep, keep_failure
from ssl_zoo.types import UserError


@contextmanager
def job(sweep: Path, number: int, *overrides: str) -> Iterator[DictConfig]:
    """The config of a sweep's job, as its launcher hands it to the program."""
    own = sweep / str(number)
    own.mkdir(parents=True, exist_ok=True)
    placed = [f"hydra.sweep.dir={sweep}", f"hydra.runtime.output_dir={own}"]
    known = ["hydra.mode=MULTIRUN", f"hydra.job.num={number}", *placed]
    with command_line("train", *TINY, *known, *overrides) as cfg:
        yield cfg


def left(sweep: Path, number: int, status: str, *overrides: str, saved: bool = True) -> RunFolder:
    """A run of the sweep as it is left with a status."""
    with job(sweep, number, *overrides) as cfg:
        run = RunFolder(sweep / str(number))
        config = to_plain(with_absolute_places(cfg))
        del config["trust"], config["dry_run"]
        run.start(config, "python train.py")
        overridden = {"overrides": task_overrides(), "metrics": {"val/knn_top1": 0.5}}
        run.write_result({"status": status, **overridden})
    if saved:
        run.checkpoints.mkdir()
        run.last.touch()
    return run


def swept(sweep: Path, *overrides: str) -> None:
    """What Hydra writes of a multirun."""
    content = {"hydra": {"overrides": {"task": [*TINY, *overrides]}}}
    (sweep / "multirun.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(content)))


def found(sweep: Path, number: int, *overrides: str) -> Found | str:
    """What is found for a job; else the folder that it is to be trained in."""
    with job(sweep, number, *overrides) as cfg:
        run = found_in_sweep(cfg)
        return str(Path(cfg.run_dir).name) if run is None else run


MINUTES = "save_every_n_minutes=3"  # may change


@pytest.mark.parametrize(
    ("status", "saved", "typed", "expected"),
    only(
        [("finished", True, ["sweep=y", "name=other", MINUTES], "kept"),
         ("interrupted", True, [MINUTES], [MINUTES])],
        [
            ("finished", True, ["sweep=y", "name=other", MINUTES], "kept"),
            ("collapsed", True, [], "kept"),
            ("nan", False, [], "kept"),
            ("nan", True, [], "kept"),
            ("finished", True, ["epochs=3"], ["epochs=3"]),
            ("interrupted", True, [MINUTES], [MINUTES]),
            ("interrupted", True, ["logger=tensorboard"], ["logger=tensorboard"]),
            ("interrupted", True, ["logger=csv"], []),
            ("out_of_memory", True, [], []),
            ("failed", True, [], []),
            ("failed", False, [], "0"),
            ("interrupted", False, [], "0"),
        ],
    ),
)  # fmt: skip
def test_a_run_of_the_same_config_is_kept_or_goes_on_whatever_its_number(
    tmp_path: Path, status: str, saved: bool, typed: list[str], expected: object
) -> None:
    left(tmp_path, 0, status, "seed=1", saved=saved)
    swept(tmp_path, "seed=0,1")
    is_now = found(tmp_path, 7, "seed=1", *typed)
    if isinstance(is_now, str):
        assert is_now == expected
        return
    assert is_now.folder.path.name == "0"
    if expected == "kept":
        assert is_now.metrics == {"val/knn_top1": 0.5}
    else:
        assert (is_now.metrics, is_now.changes) == (None, expected)


def test_a_number_that_another_job_has_gets_a_suffix(tmp_path: Path) -> None:
    left(tmp_path, 0, "finished", "seed=0")
    assert found(tmp_path, 0, "seed=1") == "0-2"


@pytest.mark.slow
def test_what_may_change_distinguishes_jobs_where_it_is_swept(tmp_path: Path) -> None:
    left(tmp_path, 0, "finished", "epochs=2")
    swept(tmp_path, "epochs=2,4")
    again = found(tmp_path, 0, "epochs=2")
    assert isinstance(again, Found)
    assert again.metrics is not None
    assert found(tmp_path, 1, "epochs=4") == "1"
    swept(tmp_path, "epochs=4")
    longer = found(tmp_path, 0, "epochs=4")
    assert isinstance(longer, Found)
    assert longer.changes == ["epochs=4"]


@pytest.mark.slow
def test_a_config_that_has_changed_below_the_same_settings_is_refused(tmp_path: Path) -> None:
    run = left(tmp_path, 0, "finished", "seed=0")
    text = run.config.read_text().replace("temperature: 0.1\n", "temperature: 0.3\n")
    run.config.write_text(text)
    expected = r"0 is a run of these settings with another config: .*temperature=0.1 \(was 0.3\)"
    with pytest.raises(UserError, match=expected):
        found(tmp_path, 0, "seed=0")
    result = json.loads(run.result.read_text())
    run.write_result(result | {"status": "failed"})
    run.last.unlink()
    assert found(tmp_path, 0, "seed=0") == "0"  # nothing of worth is in it


@pytest.mark.slow
def test_a_run_that_is_being_trained_is_not_trained_twice(tmp_path: Path) -> None:
    run = left(tmp_path, 0, "running", "seed=0", saved=False)
    with locked(run.path):
        found_now = found(tmp_path, 1, "seed=0")
    assert isinstance(found_now, Found)
    assert found_now.metrics is not None


@pytest.mark.slow
def test_a_dry_run_looks_for_none(tmp_path: Path) -> None:
    left(tmp_path, 0, "finished", "seed=0")
    for dry in ("dry_run=true", "trainer.fast_dev_run=true"):
        assert not isinstance(found(tmp_path, 0, "seed=0", dry), Found)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", '{"status": "fini', "[1]"])
def test_a_result_that_is_cut_short_is_that_of_a_run_that_was_interrupted(
    tmp_path: Path, text: str
) -> None:
    run = left(tmp_path, 0, "finished", "seed=0")
    run.result.write_text(text)
    again = found(tmp_path, 0, "seed=0")
    assert isinstance(again, Found)
    assert (again.folder.path.name, again.metrics) == ("0", None)
    assert "result.json cannot be read" in run.read_result()["error"]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "a: [b", "just words"])
def test_a_damaged_config_is_told_to_its_own_job_only(tmp_path: Path, text: str) -> None:
    run = left(tmp_path, 0, "finished", "seed=0")
    run.config.write_text(text)
    with pytest.raises(UserError, match=r"0/config.yaml is no config of a run: .* delete it"):
        found(tmp_path, 0, "seed=0")
    assert found(tmp_path, 1, "seed=1") == "1"
    run.config.unlink()  # as the line says
    assert isinstance(found(tmp_path, 0, "seed=0"), Found)


@pytest.mark.slow
def test_a_job_whose_mistake_is_mended_takes_the_folder_of_the_one_that_failed(
    tmp_path: Path,
) -> None:
    first = left(tmp_path, 0, "failed", "seed=0", "objective=val/knn", saved=False)
    assert found(tmp_path, 0, "seed=0") == "0-2"  # it had scored
    (tmp_path / "0-2").rmdir()
    first.write_result(first.read_result() | {"metrics": {}})
    left(tmp_path, 1, "failed", "seed=1", "objective=val/knn")  # after it had saved
    swept(tmp_path, "seed=0,1")
    assert found(tmp_path, 0, "seed=0") == "0"
    assert found(tmp_path, 1, "seed=1") == "1-2"
    # a job of the same grid, which another process may be about to try again
    assert found(tmp_path, 0, "seed=2", "objective=val/knn") == "0-2"


@pytest.mark.slow
@pytest.mark.parametrize(("status", "now"), [("finished", "finished"), ("interrupted", "failed")])
def test_what_is_finished_stays_so_if_a_change_of_it_is_refused(
    tmp_path: Path, status: str, now: str
) -> None:
    run = left(tmp_path, 0, status, "seed=0")
    with job(tmp_path, 1, "seed=0", "epochs=9") as cfg:
        assert isinstance(found_in_sweep(cfg), Found)
        error = UserError("no images")
        keep_failure(cfg, error)
    assert run.read_result()["status"] == now
    assert error.kept  # type: ignore[attr-defined]  # so that no other folder says it too
