"""The code in the docs runs, and its commands are commands."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from helpers.files import write_image
from helpers.paths import ROOT
from helpers.programs import composed
from helpers.tiers import every
from ssl_zoo.config import CONFIG_DIR, TRAIN_ROOTS, check_overrides, instantiate
from ssl_zoo.data import Preprocess
from ssl_zoo.types import Facts

DOCS = ROOT / "docs"


@pytest.mark.slow
def test_the_rest_of_library_md_runs(
    make_config: Callable[..., DictConfig],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a folder with a run, runs/RUN, and images, photos/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    run.rename(tmp_path / "runs" / "RUN")
    sizes = {"a.jpg": (40, 50), "b.jpg": (50, 40), "more/c.jpg": (32, 32)}
    for seed, (name, size) in enumerate(sizes.items()):
        write_image(tmp_path / "photos" / name, seed, size)
    names: dict[str, Any] = {"__name__": "docs"}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "library.md").read_text(), re.S):
        exec(compile(block, "library.md", "exec"), names)
        if "compose(" in block:  # the same, made cheap
            assert re.fullmatch(r"runs/[\d_-]+_simsiam_shapes", names["train_cfg"].run_dir)
            assert names["evaluate_cfg"].ckpt == names["train_cfg"].run_dir
            names["train_cfg"] = make_config(run="runs/NEW")
            names["evaluate_cfg"] = composed("ckpt=runs/RUN", "baselines=false")
    width = names["backbone"].num_features
    assert names["features"].shape == (2, width)
    out = capsys.readouterr().out
    assert "['a.jpg', " in out  # the nearest to an image is itself
    assert f"\n{names['preprocess']}\n" in out
    assert {"train/loss", "val/knn_top1"} <= names["metrics"].keys()
    assert (tmp_path / "runs" / "NEW" / "checkpoints" / "last.ckpt").exists()
    assert names["results"]["knn"]["rows"]


def test_library_md_prints_what_preprocess_prints() -> None:
    assert f"    {Preprocess(224, 0.875)}\n" in (DOCS / "library.md").read_text()


def ablations() -> list[str]:
    """What each table row of ablations.md would have on the command line."""
    rows = re.findall(r"^\|.*`.*$", (DOCS / "ablations.md").read_text(), re.M)
    return [" ".join(re.findall(r"`([^`]+)`", row)) for row in rows]


def jobs(overrides: list[str]) -> Iterator[list[str]]:
    """The jobs that a multirun of these overrides has."""
    choices = []
    for override in OverridesParser.create().parse_overrides(overrides):
        line = override.input_line or ""
        values = override.sweep_string_iterator() if override.is_sweep_override() else None
        key = override.get_key_element()
        choices.append([f"{key}={value}" for value in values] if values else [line])
    for job in itertools.product(*choices):
        yield list(job)


@pytest.mark.parametrize("row", every(32, ablations()))
def test_every_ablation_is_a_command(make_config: Callable[..., DictConfig], row: str) -> None:
    for job in jobs(row.split()):
        cfg = make_config(*job, "name=test", tiny=False)
        groups = [override.split("=")[0] for override in job if is_group(override)]
        check_overrides(cfg, job, groups, TRAIN_ROOTS)
        facts = Facts(num_images=50, num_classes=4, steps_per_epoch=5, total_steps=50)
        instantiate(cfg.method.module, _partial_=True)(facts=facts)


def is_group(override: str) -> bool:
    return (Path(CONFIG_DIR) / override.split("=")[0]).is_dir()


def test_every_ablation_file_is_in_the_docs() -> None:
    files = {path.stem for path in (Path(CONFIG_DIR) / "ablation").glob("*.yaml")}
    named = set(re.findall(r"\b(\w+_\w+)\b", " ".join(ablations())))
    assert files - named == set()
