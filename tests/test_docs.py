"""The code in the docs runs, and its commands are commands."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from helpers.paths import ROOT
from helpers.tiers import every
from ssl_zoo.config import CONFIG_DIR, TRAIN_ROOTS, check_overrides, instantiate
from ssl_zoo.types import Facts

DOCS = ROOT / "docs"


@pytest.mark.slow
def test_the_bare_loop_of_library_md_learns(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "library.md").read_text(), re.S)
    loop = next(block for block in blocks if "method.step" in block)
    exec(compile(loop, "library.md", "exec"), {"__name__": "docs"})
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 2
    assert losses[1] < losses[0]


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


@pytest.mark.parametrize("row", every(8, ablations()))
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
