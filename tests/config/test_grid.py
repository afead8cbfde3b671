"""What the overrides of a multirun sweep, and what they set."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from ssl_zoo.config import CONFIG_DIR, axes_of, fixed, jobs_of, settings, without_repeats
from ssl_zoo.config.grid import check_launcher
from ssl_zoo.types import UserError


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("seed=0,0", "seed=0"),
        ("seed=1,0,1", "seed=1,0"),
        ("optimizer.base_lr=0.1,1e-1,0.2", "optimizer.base_lr=0.1,0.2"),
        ("method=choice(simclr,moco,simclr)", "method=simclr,moco"),
        ("callbacks=[a,b],[a,b],c", "callbacks=[a,b],c"),
        ("name='a b','a b'", "name='a b'"),
    ],
)
def test_a_value_that_is_named_twice_is_run_once(given: str, kept: str) -> None:
    assert without_repeats([given, "epochs=1"]) == ([kept, "epochs=1"], [given])


def test_what_names_no_value_twice_stays_as_it_was_typed() -> None:
    given = ["seed=range(0,3)", "x=interval(0,1)", "a=0.10,0.2", "~b", "+c=[1,1]", "m=glob(*)"]
    assert without_repeats(given) == (given, [])
    assert axes_of(given) == {"seed", "x", "a", "m"}
    assert settings(given) == {"~b": None, "c": [1, 1]}


def test_the_jobs_of_a_grid() -> None:
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        grid = ["ablation=glob(moco_mlp*)", "seed=0,1", "epochs=1"]
        jobs = jobs_of(grid, loader)
        assert jobs is not None
        assert [(job["ablation"], job["seed"]) for job in jobs][:2] == [
            ("moco_mlp", 0),
            ("moco_mlp", 1),
        ]
        assert len(jobs) == 6
        assert jobs_of([*grid, "optimizer.lr=interval(0,1)"], loader) is None


def test_what_may_change_distinguishes_jobs_only_where_it_is_swept() -> None:
    keys = ["epochs", "devices", "dataset.root", "logger.wandb.project", "method", "seed"]
    assert [fixed(key, {"devices"}) for key in keys] == [False, True, False, False, True, True]
    assert not fixed("sweep", {"sweep"})


@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm"])
def test_a_launcher_that_is_not_installed_names_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    plugin = "submitit" if "submitit" in name else "joblib"
    args = ["-m", f"hydra/launcher={name}", "seed=0,1"]
    check_launcher(args)
    monkeypatch.setitem(sys.modules, f"hydra_plugins.hydra_{plugin}_launcher", None)
    expected = rf"^hydra/launcher={name} needs .*: pip install \"ssl_zoo\[{plugin}\]\"$"
    with pytest.raises(UserError, match=expected):
        check_launcher(args)


def test_slurm_s_launcher_needs_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"^hydra/launcher=submitit_slurm: there is no srun here"):
        check_launcher(["-m", "hydra/launcher=submitit_slurm"])


def test_a_launcher_of_one_run_is_refused() -> None:
    with pytest.raises(UserError, match=r"^hydra/launcher=joblib .*: add -m$"):
        check_launcher(["hydra/launcher=joblib", "seed=0"])
