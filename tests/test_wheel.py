"""An installed wheel works from an empty folder: programs and configs are all inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from helpers.paths import ROOT

TINY = [
    *("dataset.splits.num_train=200", "dataset.splits.num_test=40", "batch_size=64", "epochs=1"),
    *("backbone.widths=[8,16]", "backbone.strides=[2,2]", "callbacks=none"),
]


def run(*command: str | Path, cwd: Path) -> str:
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since setuptools leaves a build folder beside what it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("ssl_zoo", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_config_and_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    configs = {f"ssl_zoo/{p.relative_to(ROOT)}" for p in (ROOT / "conf").rglob("*.yaml")}
    packages = [ROOT / "ssl_zoo", ROOT / "hydra_plugins"]
    modules = {str(p.relative_to(ROOT)) for package in packages for p in package.rglob("*.py")}
    assert len(configs) > 150
    assert configs | modules | {"ssl_zoo/py.typed"} <= inside
    assert {name.split("/")[0] for name in inside} == {
        *("ssl_zoo", "hydra_plugins", "ssl_zoo-0.1.0.dist-info")
    }


@pytest.mark.slow
def test_an_installed_wheel_trains_and_evaluates(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, which borrows our packages but not our checkout."""
    environment, empty = tmp_path / "environment", tmp_path / "empty"
    empty.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=empty).strip()
    # a folder on the path, whose own .pth files (our editable installation) are not read
    Path(site, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "-q", "--no-deps", "--no-index", wheel, cwd=empty)
    where = run(python, "-c", "import ssl_zoo.config as c; print(c.CONFIG_DIR)", cwd=empty)
    assert Path(where.strip()) == Path(site) / "ssl_zoo" / "conf"

    program = environment / "bin" / "ssl-zoo"
    assert "evaluate" in run(program, "--help", cwd=empty)
    run(program, "train", *TINY, "hydra.run.dir=runs/first", cwd=empty)
    assert (empty / "runs" / "first" / "checkpoints" / "last.ckpt").is_file()
    table = run(program, "evaluate", "ckpt=runs/first", "baselines=false", cwd=empty)
    assert "pretrained" in table
    assert "most frequent class" in run(program, "table", "runs/first", cwd=empty)
    weights = empty / "backbone.safetensors"
    run(program, "export", "runs/first", "--format", "safetensors", weights, cwd=empty)
    assert weights.is_file()


@pytest.mark.soak
def test_a_full_installation_trains(wheel: Path, tmp_path: Path) -> None:
    """With everything that it depends on, from the package registry: gigabytes."""
    environment, empty = tmp_path / "environment", tmp_path / "empty"
    empty.mkdir()
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    run(environment / "bin" / "pip", "install", "-q", wheel, cwd=empty)
    run(environment / "bin" / "ssl-zoo", "train", *TINY, "hydra.run.dir=runs/first", cwd=empty)
    run(environment / "bin" / "ssl-zoo", "evaluate", "ckpt=runs/first", cwd=empty)


def test_an_unknown_program_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from ssl_zoo.cli import main; main()", "trian"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "error: trian is not a program: did you mean train?\n"
