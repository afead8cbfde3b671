"""Test images of a study stay closed until its selection is sealed, whoever asks for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from helpers.configs import Make
from helpers.programs import run_evaluate
from helpers.tiers import only
from ssl_zoo.checkpoints.export import export
from ssl_zoo.config import instantiate
from ssl_zoo.data import DataModule
from ssl_zoo.data.images import FileImages
from ssl_zoo.sealing import STUDY, TOKEN, check_sealed, closed_in, refusal, study_of, token_of
from ssl_zoo.types import UserError

CLOSED = "test is closed: the selection of the study .* is not sealed"
ENTRY = {"id": "a", "method": "simclr", "config_sha": "c", "seed": 101, "status": "opened"}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study that is planned; this process is one of its children."""
    folder = tmp_path / "study"
    (folder / "trials" / "simclr").mkdir(parents=True)
    for name in ("study.yaml", "plan.json"):
        (folder / name).write_text("{}")
    monkeypatch.setenv(STUDY, "")  # restored after the test
    closed_in(folder / "trials" / "simclr" / "0")
    return folder


def seal(study: Path, *lines: dict[str, object]) -> None:
    (study / "selection.json").write_text("{}")
    (study / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


WAYS: dict[str, Callable[[DataModule], object]] = {
    "loader": lambda data: data.test_dataloader(),
    "batches": lambda data: data.test.clean_batches([torch.arange(2)], lambda x: x, 0),  # type: ignore[union-attr]
    "pixels": lambda data: data.test.images,  # type: ignore[union-attr]
    "batch": lambda data: data.test.batch(torch.arange(2)),  # type: ignore[union-attr]
    "file": lambda data: data.test.load(0),  # type: ignore[union-attr]
    "part": lambda data: data.test.subset(torch.arange(2)),  # type: ignore[union-attr]
    "labels": lambda data: data.test.relabelled(data.test.labels),  # type: ignore[union-attr]
    "pooled": lambda data: data.test.pooled(data.train),  # type: ignore[union-attr]
    "training": lambda data: data.test.train_batches(None, None, 0),  # type: ignore[union-attr, arg-type]
    "prepared": lambda data: data.prepared(data.preprocess).test_dataloader(),
}


@pytest.mark.parametrize("way", only(["loader", "batches"], WAYS))
def test_a_child_opens_no_test_images(way: str, study: Path, make_config: Make) -> None:
    data: DataModule = instantiate(make_config().data)
    with pytest.raises(UserError, match=CLOSED):
        WAYS[way](data)


def test_what_identifies_the_split_is_known(
    study: Path, make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: DataModule = instantiate(make_config().data)
    monkeypatch.delenv(STUDY)
    free: DataModule = instantiate(make_config().data)
    assert free.test is not None
    assert closed.fingerprint == free.fingerprint
    assert len(closed.test or []) == len(free.test)
    assert not isinstance(closed.test, FileImages)


def test_only_the_ledgers_line_opens_test(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, token_of(ENTRY))
    assert "is not sealed" in refusal()
    seal(study, ENTRY)
    assert refusal() == ""
    monkeypatch.delenv(TOKEN)
    assert "test is closed to the runs of the study" in refusal()
    for key, value in (("seed", 102), ("method", "moco"), ("config_sha", "d"), ("id", "b")):
        monkeypatch.setenv(TOKEN, token_of(ENTRY | {key: value}))
        assert "has not opened it for this run" in refusal(), key
    monkeypatch.setenv(TOKEN, "open")
    assert "has not opened it for this run" in refusal()
    monkeypatch.setenv(TOKEN, token_of(ENTRY))
    seal(study, ENTRY, ENTRY | {"status": "read"})
    assert "has not opened it for this run" in refusal()  # one use
    seal(study, {**ENTRY, "status": "read"}, ENTRY)
    assert refusal() == ""  # a reading that is repeated


def test_a_process_outside_of_a_study_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STUDY, raising=False)
    closed_in(tmp_path / "run")
    assert refusal() == ""
    assert study_of(tmp_path) is None


NAMED = ["run", "last.ckpt", "link", "relative", "list", "folder of runs", "copy"]


@pytest.mark.parametrize("named", only(["copy"], NAMED))
def test_evaluate_refuses_a_run_of_a_study_that_is_not_sealed(
    named: str, study: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(STUDY)  # whoever calls it
    run = Path(shutil.copytree(trained, study / "trials" / "simclr" / "0"))
    ckpt = str(run)
    if named == "last.ckpt":
        ckpt = str(run / "checkpoints" / "last.ckpt")
    elif named == "link":
        (tmp_path / "link").symlink_to(run)
        ckpt = str(tmp_path / "link")
    elif named == "relative":
        monkeypatch.chdir(run.parent)
        ckpt = "./0"
    elif named == "list":
        ckpt = f"[{trained},{run}]"
    elif named == "folder of runs":
        ckpt = str(run.parent)
    elif named == "copy":  # elsewhere, but it was trained in the study
        ckpt = str(shutil.copytree(run, tmp_path / "copy"))
        file = Path(ckpt) / "checkpoints" / "last.ckpt"
        content = torch.load(file, weights_only=True)
        content["ssl_zoo"]["config"]["run_dir"] = str(run)
        torch.save(content, file)
    with pytest.raises(UserError, match=r"is of the study .*, whose selection is not sealed"):
        run_evaluate(f"ckpt={ckpt}", "protocol=knn", f"out={tmp_path / 'out'}")
    assert not list((tmp_path / "out").glob("*"))


def test_nor_is_it_exported_to_be_scored_elsewhere(study: Path, run: Path, tmp_path: Path) -> None:
    inside = Path(shutil.move(run, study / "trials" / "simclr" / "0"))
    with pytest.raises(UserError, match="whose selection is not sealed"):
        export(inside, "torchscript", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_after_the_seal_a_user_may_score_what_they_like(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not sealed"):
        check_sealed(study / "finals" / "simclr" / "seed101")
    seal(study)
    check_sealed(study / "finals" / "simclr" / "seed101")
