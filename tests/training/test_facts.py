"""What a run says: before torch is imported, when its parts are built, and in result.json."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from helpers.configs import TINY, Make
from helpers.paths import ROOT
from helpers.programs import FOLDER_TINY, folder_overrides, run_evaluate
from helpers.tiers import only
from helpers.trees import make_tree
from ssl_zoo.data import Augmentation, DataModule, FileImages, Splits, TensorImages
from ssl_zoo.data.facts import data_facts, images_in_words, input_in_words
from ssl_zoo.train import train
from ssl_zoo.training.facts import say_start
from ssl_zoo.training.report import _originals

SHAPES = "270 images in 10 classes (disc, ring, square, triangle, ...)"


def without_torch(tmp_path: Path, program: str, *args: str) -> subprocess.CompletedProcess[str]:
    """A program that stops when it imports torch."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('torch is imported')")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, str(ROOT / program), *args]
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("program", "args", "line"),
    [
        ("train.py", ["method=byol", "hydra.run.dir=x"], r"BYOL on shapes, in {here}/x"),
        ("evaluate.py", ["ckpt=[a,b]", "protocol=[knn,linear]"], "a, b by knn, linear on its own"),
    ],
)
def test_the_first_line_comes_before_torch(
    tmp_path: Path, program: str, args: list[str], line: str
) -> None:
    ended = without_torch(tmp_path, program, *args)
    first, last = ended.stderr.splitlines()[:2]
    assert first.startswith(line.format(here=tmp_path))
    assert last == "torch is imported"


def test_a_second_process_says_nothing_of_it(
    make_config: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = make_config()
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "ssl_zoo"):
            patch.setenv(name, "1")
            say_start(cfg, "in x")
            assert not caplog.messages
            patch.setenv(name, "0")
            say_start(cfg, "in x")
            assert caplog.messages == ["SimCLR on shapes, in x"]
        caplog.clear()


def test_a_resumed_run_is_named_by_its_own_config(
    make_config: Make, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        train(make_config(f"resume={run}", "method=moco"))
    assert f"SimCLR on shapes, resumed in {run}" in caplog.messages


# --- when the parts are built ---------------------------------------------------------------------


LEFT_OUT = {".gif: not an image format that is read": 3, "does not decode": 1}


def array(
    count: int = 40, size: int = 8, left_out: Mapping[str, int] = MappingProxyType({})
) -> TensorImages:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    return TensorImages(pixels, torch.arange(count) % 4, left_out=left_out)


def module(train: Any, test: Any = None, names: str = "abcd", **options: Any) -> DataModule:
    views = partial(Augmentation, blur=0.0)
    splits = options.pop("splits", None) or Splits(train, test, list(names))
    return DataModule(splits, views, batch_size=8, **options)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            module(array()),
            "36 images in 4 classes (a, b, c, d), val 4 held out of train, no test images",
        ),
        (
            module(array(left_out=LEFT_OUT), array(8, left_out=LEFT_OUT)),
            "36 images in 4 classes (a, b, c, d), val 4 held out of train, test 8, left out: 6 "
            ".gif: not an image format that is read, 2 does not decode",
        ),
        (
            module(array().relabelled(torch.full((40,), -1)), names="", val_fraction=0.0),
            "40 images, no labels, val 0, no test images",
        ),
        (
            module(array().relabelled(torch.arange(40) % 5 - 1), val_fraction=0.0),
            "40 images in 4 classes (a, b, c, d), 32 of them labelled, val 0, no test images",
        ),
    ],
)
def test_images_in_words(data: DataModule, words: str) -> None:
    assert images_in_words(data_facts(data)) == words


KNOWN = Splits(array(), None, list("abcd"), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (module(array()), "8 x 8 pixels, normalised by the training images' own statistics"),
        (module(array(), mean=[0, 0, 0]), "8 x 8 pixels, normalised by the given statistics"),
        (module(array(), std=[1, 1, 1]), "8 x 8 pixels, normalised by the given statistics"),
        (
            module(None, splits=KNOWN, image_size=6, view_size=4),
            "6 x 6 pixels (views 4 x 4), normalised by the data set's published statistics",
        ),
    ],
)
def test_input_in_words(data: DataModule, words: str) -> None:
    assert input_in_words(data_facts(data)) == words


def test_files_of_mixed_sizes_and_what_they_look_like(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", [(20, 30), (64, 48)], 2)
    paths = sorted(str(path) for path in tree.rglob("*.png"))
    images = FileImages(paths, torch.tensor([0, 0, 1, 1]))
    data = module(images, names="ab", val_fraction=0.0, image_size=16)
    assert input_in_words(data_facts(data)) == (
        "16 x 16 pixels, normalised by ImageNet's statistics"
    )
    originals = _originals(data, torch.tensor([2, 1]))
    assert torch.equal(originals[0], images.load(2))  # whole and at its own size
    assert originals[1].shape == (3, 42, 32)  # a large one is drawn smaller


def test_the_second_line_is_kept_in_result_json(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        train(make_config("callbacks=none", "trainer.max_steps=1", "augmentation.size=16"))
    folder = tmp_path / "run"
    facts = json.loads((folder / "result.json").read_text())["facts"]
    assert facts["backbone_parameters"] < facts["parameters"]
    assert {key: facts[key] for key in ("images", "val", "test", "classes", "left_out")} == {
        **{"images": 270, "val": 30, "test": 60, "classes": 10, "left_out": {}}
    }
    assert facts["folder"] == str(folder)
    line = (
        f"{SHAPES}, val 30 held out of train, test 60; 32 x 32 pixels (views 16 x 16), normalised "
        f"by the training images' own statistics; {facts['device']}, 32-true; "
    )
    assert caplog.messages[0] == f"SimCLR on shapes, in {folder}"
    assert caplog.messages[1].startswith(line)
    assert caplog.messages[1].endswith(f" of them the backbone's; in {folder}")


def test_an_evaluation_says_what_it_read(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        run_evaluate(f"ckpt={run}", "baselines=false")
    assert caplog.messages[0] == f"{run} by knn on its own data"
    read = (
        f"{SHAPES}, val 30 held out of train, test 60; 32 x 32 pixels, normalised by the checkpoint"
    )
    assert len([line for line in caplog.messages if line.startswith(read)]) == 1


# --- a dry run ------------------------------------------------------------------------------------


def everything(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("filled", only([True], [False, True]))
def test_a_dry_run_writes_nothing(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, filled: bool
) -> None:
    tree, cache = make_tree(tmp_path / "tree", [(32, 32)], 40), tmp_path / "cache"
    overrides = [*FOLDER_TINY, *folder_overrides(tree, cache), "batch_size=8", "accumulate=2"]
    if filled:
        train(make_config(*overrides, "trainer.max_steps=1", tiny=False, run="first"))
    before = everything(tmp_path)
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        metrics = train(make_config(*overrides, "epochs=5", "dry_run=true", tiny=False))
    assert everything(tmp_path) == before
    assert "train/loss" in metrics
    lines = [line for line in caplog.messages if not line.startswith("no image")]
    start, read, forecast, end = lines[-4:]
    assert start.endswith("run, which a dry run does not make")
    assert read.startswith(
        "72 images in 2 classes (cat, dog), val 8 held out of train, no test images; 32 x 32 pixels"
    )
    assert read.endswith("run (not made)")
    assert forecast.startswith("about ")
    assert "for the 42 steps left" in forecast  # of 5 epochs of 9 steps, three are done
    assert end == "dry_run: it runs; nothing was kept"


@pytest.mark.slow
@pytest.mark.parametrize(
    "args",
    [
        ["--dry-run"],
        ["-m", "dry_run=true", "seed=0,1"],
        ["--dry-run", "hydra.run.dir=elsewhere"],
        ["--dry-run", "run_dir=elsewhere", "logger=[wandb,tensorboard]"],
    ],
    ids=" ".join,
)
def test_a_dry_command_line_leaves_no_file(tmp_path: Path, args: list[str]) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "WANDB_MODE": "offline"}
    command = [sys.executable, str(ROOT / "train.py"), *TINY, "callbacks=none", *args]
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("dry_run: it runs; nothing was kept") == (2 if "-m" in args else 1)
    assert not list(tmp_path.iterdir())
    if args[1:] and "elsewhere" in args[1]:
        assert f"in {'elsewhere' if 'run_dir' in args[1] else ''}" in ended.stderr


def test_a_dry_run_is_true_or_false(make_config: Make) -> None:
    from ssl_zoo.config import check_knobs
    from ssl_zoo.types import UserError

    with pytest.raises(UserError, match=r"^dry_run=maybe: give true or false$"):
        check_knobs(OmegaConf.merge(make_config(), {"dry_run": "maybe"}))  # type: ignore[arg-type]
