"""The door of a search: what is installed, and what a user reads who lacks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from helpers.paths import ROOT
from helpers.sweeps import grid
from ssl_zoo.config import explain
from ssl_zoo.search import sweeper
from ssl_zoo.types import UserError

# What Hydra's plugin registers, under the same names as ours.
HYDRAS = """
from hydra.core.config_store import ConfigStore
node = {"_target_": "hydra_plugins.hydra_optuna_sweeper.OptunaSweeper", "n_trials": 1}
ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=node, provider="theirs")
ConfigStore.instance().store(group="hydra/sweeper/sampler", name="tpe", node={}, provider="theirs")
"""


@pytest.fixture
def hydras(tmp_path: Path) -> Path:
    """A folder in which Hydra's plugin is installed."""
    package = tmp_path / "hydra_plugins" / "hydra_optuna_sweeper"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(HYDRAS)
    return tmp_path


def test_without_optuna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError) as refused:
        sweeper.search([], None, None, None)  # type: ignore[arg-type]
    assert str(refused.value) == (
        'hydra/sweeper=optuna needs optuna, which is not installed: pip install "ssl_zoo[optuna]"'
    )


@pytest.mark.parametrize("both", [False, True])
def test_the_optuna_of_hydras_plugin_is_refused(
    both: bool, hydras: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "version", lambda _: "2.10.1")
    if both:
        monkeypatch.syspath_prepend(hydras)
    with pytest.raises(UserError, match=r"needs Optuna 5, installed is 2\.10\.1") as refused:
        sweeper.search([], None, None, None)  # type: ignore[arg-type]
    removed = "pip uninstall hydra-optuna-sweeper, then pip install" in str(refused.value)
    assert removed == both


def started(*args: str, path: Path | None = None) -> tuple[int, str]:
    places = [str(ROOT), *([str(path)] if path else [])]
    code = "import sys; sys.path += {}; from ssl_zoo.train import command; command()"
    line = [sys.executable, "-c", code.format(places), *args]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.slow
def test_where_both_are_installed_ours_searches_and_says_so(hydras: Path, tmp_path: Path) -> None:
    place = f"hydra.sweep.dir={tmp_path / 'x'}"
    code, said = started("-m", "hydra/sweeper=optuna", "epochs=1", place, path=hydras)
    assert code == 2
    assert "pip uninstall hydra-optuna-sweeper removes the other" in said
    assert "error: nothing to search over" in said
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["hydra/sweeper=optuna"], "error: method.temperature=interval(0.02,1) is a run for each"),
        (["-m"], "error: an interval is searched over: add hydra/sweeper=optuna"),
        (["-m", "hydra/sweeper=optuna", "seed=0,1"], "would choose the luckiest one"),
        (["-m", "hydra/sweeper=optuna", "hydra/sweeper/sampler=qmd"], "did you mean qmc?"),
        (
            ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trial=3"],
            "hydra.sweeper.n_trial is not a key of the config: did you mean hydra.sweeper.n_trials",
        ),
    ],
)
def test_what_a_user_reads_who_mistypes_a_search(
    args: list[str], says: str, tmp_path: Path
) -> None:
    place = f"hydra.sweep.dir={tmp_path / 'x'}"
    code, said = started(*args, "method.temperature=interval(0.02,1)", place)
    assert code == 2
    assert says in said
    assert said.count("error:") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_search_that_is_refused_prints_nothing_else(tmp_path: Path) -> None:
    place = f"hydra.sweep.dir={grid(tmp_path, [0.5, 0.6], seed='0,1')}"
    knob = "method.temperature=interval(0.02,1)"
    code, said = started("-m", "hydra/sweeper=optuna", knob, place)
    assert code == 2
    assert "holds runs, but no optuna_journal.log" in said
    assert said.count("\n") == 1, said


def test_an_interval_in_a_plain_sweep_is_told_the_way() -> None:
    with pytest.raises(HydraException) as refused:
        BasicSweeper.split_arguments(
            OverridesParser.create().parse_overrides(["a=interval(0,1)"]), None
        )
    assert explain(refused.value, "train").startswith("an interval is searched over")
