"""The command line of a run that goes on, what depends on a knob, and where a data set lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from helpers.configs import Make
from ssl_zoo.config import (
    changed_config,
    differences,
    to_plain,
    unread_of,
    wiring_of,
    with_absolute_places,
)
from ssl_zoo.config.resume_line import resume_line
from ssl_zoo.types import UserError


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("resume=runs/x", ("runs/x", [], None)),
        ("resume='runs/a b' epochs=3 trust=[mine]", ("runs/a b", ["epochs=3"], ["mine"])),
        ("+logger.x.y=1 resume=3 hydra.verbose=true", ("3", ["+logger.x.y=1"], None)),
        ("--config-dir own resume=x seed=1", ("x", ["seed=1"], None)),
        ("resume=null seed=1", None),
        ("seed=1", None),
        ("--cfg job resume=x", None),
        ("-m resume=x,y", None),
    ],
)
def test_the_line_of_a_run_that_goes_on(line: str, expected: Any) -> None:
    args = ["resume='runs/a b'", *line.split()[2:]] if "'" in line else line.split()
    found = resume_line(args)
    assert (None if found is None else (found.run, found.changes, found.trust)) == expected


def test_an_empty_variable_does_not_start_a_new_run() -> None:
    with pytest.raises(UserError, match=r"^resume= has no value: give a run folder"):
        resume_line(["resume=", "epochs=3"])
    with pytest.raises(UserError, match=r"^resume=a,b names several runs: resume one"):
        resume_line(["resume=a,b"])


def test_what_depends_on_a_knob(make_config: Make) -> None:
    wiring = wiring_of(make_config("dataset=folder", "dataset.root=x", tiny=False))
    assert wiring["trainer.max_epochs"] == "${epochs}"
    assert wiring["method.module.scheduler"] == "${scheduler}"
    assert wiring["data.splits"] == "${dataset.splits}"
    assert not {"data.batch_size", "data.seed", "name"} & wiring.keys()


def test_batches_keep_the_parts_that_are_normalised_together(make_config: Make) -> None:
    cfg = make_config("method=moco")
    plain, wiring = to_plain(cfg), wiring_of(cfg)
    assert plain["method"]["module"]["target"]["num_splits"] == 8
    two = changed_config(plain, ["devices=2"], wiring)
    assert two["method"]["module"]["target"]["num_splits"] == 4
    assert two["trainer"]["devices"] == 2
    back = changed_config(two, ["devices=1"], wiring)
    assert back == plain
    assert differences(plain, two, wiring) == ["devices=2 (was 1)"]


def test_a_warm_up_that_was_given_stays(make_config: Make) -> None:
    cfg = make_config("scheduler.warmup_epochs=1")
    longer = changed_config(to_plain(cfg), ["epochs=50"], wiring_of(cfg))
    assert longer["method"]["module"]["scheduler"]["warmup_epochs"] == 1
    assert longer["method"]["module"]["scheduler"]["epochs"] == 50


def test_a_knob_that_nothing_reads_is_refused(make_config: Make) -> None:
    cfg = make_config()
    OmegaConf.update(cfg, "trainer.max_epochs", 1)
    for place in ("scheduler.epochs", "scheduler.warmup_epochs"):
        OmegaConf.update(cfg, place, 1)
    with pytest.raises(UserError, match=r"^epochs=3: no part of this run reads it: remove it$"):
        changed_config(to_plain(cfg), ["epochs=3"], wiring_of(cfg))


@pytest.mark.parametrize(
    ("knob", "typed", "saved"),
    [
        ("root", "images", "{cwd}/images"),
        ("root", "~/images", "{home}/images"),
        ("root", "/data/images", "/data/images"),
        ("cache_dir", "cache", "{cwd}/cache"),
        ("cache_dir", "~/.cache/ssl_zoo", "~/.cache/ssl_zoo"),  # each user's own
        ("list_path", "lists/a.txt", "{cwd}/lists/a.txt"),
        ("data_root", "s3://bucket/x", "s3://bucket/x"),
        ("name", "images", "images"),
    ],
)
def test_places_are_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, knob: str, typed: str, saved: str
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = {knob: typed, "splits": {"root": "below", knob: f"${{dataset.{knob}}}"}}
    cfg = OmegaConf.create({"dataset": dataset, "data": {"splits": "${dataset.splits}"}})
    splits = to_plain(with_absolute_places(cfg))["data"]["splits"]
    assert splits[knob] == saved.format(cwd=tmp_path, home=Path.home())
    assert cfg.dataset[knob] == typed
    if knob != "root":
        assert splits["root"] == str(tmp_path / "below")


def test_the_default_place_of_a_packaged_data_set(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = make_config("dataset=cifar10", tiny=False)
    assert to_plain(with_absolute_places(cfg))["data"]["splits"]["root"] == str(tmp_path / "data")
    monkeypatch.setenv("SSL_ZOO_DATA", "elsewhere")
    cfg = make_config("dataset=cifar10", tiny=False)
    assert to_plain(with_absolute_places(cfg))["dataset"]["root"] == str(tmp_path / "elsewhere")


def test_what_of_a_config_from_python_is_not_read(make_config: Make) -> None:
    cfg = make_config("resume=x", tiny=False)
    assert unread_of(cfg) == []
    cfg.epochs, cfg.name = 3, "a"
    assert unread_of(cfg) == ["epochs", "name"]
