"""The search's own logic: which trials run, which go on, what Optuna is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from helpers.searches import KNOBS, Launcher, config_of, leave, searched, table
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.search import TrialLink
from ssl_zoo.search.study import JOURNAL, opened
from ssl_zoo.search.trials import Search
from ssl_zoo.types import UserError

SIX = ("sweeper.n_trials=6", "sweeper.sampler.n_startup_trials=2")


class Killed(BaseException):
    """Ends a search as a kill does: nothing is told."""


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("ssl_zoo.search.trials.write_pictures", lambda *_: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl_zoo.search.trials.write_pictures", lambda *_: None)
        searched(folder, *SIX)
    return folder


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="search", storage=opened(str(folder / JOURNAL)))


def statuses(folder: Path) -> list[str]:
    return [row[1] for row in table(folder)[1:]]


def killed(launcher: Launcher, saved: bool = False, status: str = "running") -> Launcher:
    """A launcher whose third trial ends the process."""

    def before(number: int, run: RunFolder) -> None:
        if number == 2:
            leave(run, launcher.lines[-1], status)
            if saved:
                run.checkpoints.mkdir()
                run.last.touch()
            raise Killed

    launcher.before = before
    return launcher


@pytest.mark.parametrize("saved", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_search_goes_on_and_ends_like_one_that_was_not_killed(
    saved: bool, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        searched(tmp_path, *SIX, launcher=killed(Launcher(), saved))
    assert statuses(tmp_path) == ["finished", "finished", "interrupted"]
    again = searched(tmp_path, *SIX)
    assert len(again.lines) == 4
    assert again.lines[0][0].startswith("resume=") == saved
    assert table(tmp_path) == table(whole)
    assert len({tuple(row[3:5]) for row in table(whole)}) == 7
    assert searched(tmp_path, *SIX).lines == []
    assert len(searched(tmp_path, "sweeper.n_trials=8").lines) == 2


@pytest.mark.parametrize(
    "status",
    ["finished", *(pytest.param(one, marks=pytest.mark.slow) for one in ("pruned", "nan"))],
)
def test_a_run_that_had_ended_before_the_kill_is_told_and_not_run_again(
    status: str, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        searched(tmp_path, *SIX, launcher=killed(Launcher(), True, status))
    assert len(searched(tmp_path, *SIX).lines) == 3
    assert statuses(tmp_path)[2] == status
    state = TrialState.COMPLETE if status == "finished" else TrialState.PRUNED
    assert study_of(tmp_path).trials[2].state == state


@pytest.mark.slow
def test_a_trial_goes_on_though_the_place_is_another(tmp_path: Path) -> None:
    here = ["sweep=a", *KNOBS]
    with pytest.raises(Killed):
        searched(tmp_path, *SIX, knobs=here, launcher=killed(Launcher(), True))
    there = [*KNOBS, "sweep='runs/a b'", "dataset.num_workers=2", "logger.csv.x=1"]
    assert len(searched(tmp_path, *SIX, knobs=there).lines) == 4
    assert statuses(tmp_path) == ["finished"] * 6


@pytest.mark.parametrize("known", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_killed_while_it_asked_leaves_a_trial_that_goes_on(
    known: int, whole: Path, tmp_path: Path
) -> None:
    searched(tmp_path, "sweeper.n_trials=2", "sweeper.sampler.n_startup_trials=2")
    study = study_of(tmp_path)
    trial = study.ask()
    knob, value = KNOBS[0].partition("=")[0], float(table(whole)[3][3])
    for _ in range(known):
        trial.storage.set_trial_param(
            trial._trial_id, knob, value, study.trials[0].distributions[knob]
        )
    searched(tmp_path, *SIX)
    assert table(tmp_path) == table(whole)


def test_two_processes_share_the_trials(tmp_path: Path) -> None:
    """The second begins while the first runs its first trial, which it leaves to it."""
    first, second = Launcher(), Launcher()

    def before(number: int, run: RunFolder) -> None:
        if number == 0:
            searched(tmp_path, "sweeper.n_trials=4", launcher=second)

    first.before = before
    searched(tmp_path, "sweeper.n_trials=4", launcher=first)
    assert [len(first.lines), len(second.lines)] == [1, 3]
    assert len({tuple(line) for line in first.lines + second.lines}) == 4
    assert statuses(tmp_path) == ["finished"] * 4


@pytest.mark.slow
def test_a_trial_whose_run_is_still_written_is_left_alone(tmp_path: Path) -> None:
    """A worker was killed, and the job that it had given to a cluster runs on."""
    with pytest.raises(Killed):
        searched(tmp_path, *SIX, launcher=killed(Launcher()))
    from ssl_zoo.lock import locked

    with locked(tmp_path / "2"):
        assert len(searched(tmp_path, "sweeper.n_trials=4").lines) == 1
    assert len(searched(tmp_path, "sweeper.n_trials=4").lines) == 1


def test_failures_are_no_results_and_divergence_is_one(tmp_path: Path) -> None:
    status: Callable[[int], str] = {1: "failed", 2: "nan"}.get  # type: ignore[assignment]
    launcher = Launcher(status=lambda number: status(number) or "finished")
    searched(tmp_path, "sweeper.n_trials=4", launcher=launcher)
    assert statuses(tmp_path) == ["finished", "failed", "nan", "finished", "finished"]
    assert [trial.state for trial in study_of(tmp_path).trials[1:3]] == [
        TrialState.FAIL,
        TrialState.PRUNED,
    ]


@pytest.mark.slow
def test_a_search_whose_trials_fail_stops(tmp_path: Path) -> None:
    launcher = Launcher(status=lambda _: "failed")
    with pytest.raises(UserError, match=r"the search stops: 3 of 3 trials failed.*: it broke"):
        searched(tmp_path, launcher=launcher)
    assert len(launcher.lines) == 3
    with pytest.raises(UserError, match="1 of 1"):
        searched(tmp_path, "sweeper.max_failure_rate=0", launcher=launcher)


def test_a_search_without_an_objective_stops_after_one_trial(tmp_path: Path) -> None:
    class Silent(Launcher):
        def launch(self, lines: list[list[str]], initial_job_idx: int) -> None:
            super().launch(lines, initial_job_idx)
            path = tmp_path / str(initial_job_idx) / "result.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": {"x": 1.0}}))

    launcher = Silent()
    with pytest.raises(UserError, match="val/knn_top1 or val/map_at_r come of callbacks=default"):
        searched(tmp_path, launcher=launcher)
    assert len(launcher.lines) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("epochs=3", r"epochs=3 \(was 2\)"),
        ("method.temperature=interval(0.02,2)", r"=interval\(0.02,2\) \(was interval\(0.02,1\)\)"),
        ("optimizer.lr=0.1", r"optimizer.lr=0.1 \(was tag\(log"),
        ("batch_size=32", r"batch_size=32 \(was not given\)"),
        ("dataset.num_workers=2", ""),
        ("logger.wandb.project=x", ""),
    ],
)
def test_a_search_goes_on_with_what_it_began_with(change: str, says: str, tmp_path: Path) -> None:
    began = (*KNOBS, "epochs=2")
    searched(tmp_path, "sweeper.n_trials=1", knobs=began)
    if not says:
        assert searched(tmp_path, "sweeper.n_trials=2", knobs=(*began, change)).lines
        return
    with pytest.raises(UserError, match=f"holds another search: .*{says}"):
        searched(tmp_path, "sweeper.n_trials=2", knobs=(*began, change))


def test_a_change_of_the_objective_is_named_and_not_its_direction(tmp_path: Path) -> None:
    minimized = config_of(tmp_path, "sweeper.n_trials=1")
    minimized.objective = "train/loss_epoch"
    launcher = Launcher()
    launcher.folder = tmp_path  # type: ignore[attr-defined]
    search = Search([*KNOBS, "objective=train/loss_epoch"], minimized, launcher, None)
    with pytest.raises(UserError, match="the run logged none"):
        search.run()
    with pytest.raises(UserError, match=r"objective=\(not given\) \(was train/loss_epoch\)"):
        searched(tmp_path, "sweeper.n_trials=2")


@pytest.mark.slow
def test_the_run_of_another_multirun_is_no_trial_s(tmp_path: Path) -> None:
    """A grid went on in the search's folder, whose next number it took."""
    searched(tmp_path, "sweeper.n_trials=1")
    other = RunFolder(_made(tmp_path / "1"))
    leave(other, ["method.temperature=0.5", "optimizer.lr=0.1"])
    other.checkpoints.mkdir()
    other.last.touch()
    with pytest.raises(UserError, match=r"is not the run of trial 1, .*optimizer.lr=0.1"):
        searched(tmp_path, "sweeper.n_trials=2")
    (tmp_path / "1").rename(tmp_path / "elsewhere")
    assert searched(tmp_path, "sweeper.n_trials=2").lines[0][0].startswith("method.temperature=")


def test_the_folder_of_a_grid_is_not_taken(tmp_path: Path) -> None:
    leave(RunFolder(_made(tmp_path / "0")), [], "finished")
    with pytest.raises(UserError, match=r"holds runs, but no optuna_journal\.log"):
        searched(tmp_path)


def test_a_folder_is_known_by_its_run_and_not_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        searched(tmp_path, *SIX, launcher=killed(Launcher()))
    leave(RunFolder(tmp_path / "2"), ["method.temperature=0.5", "optimizer.lr=0.1"])
    with pytest.raises(UserError, match=r"is not the run of trial 2, .*optimizer.lr=0.1"):
        searched(tmp_path, *SIX)


@pytest.mark.slow
def test_a_grid_runs_each_point_once(tmp_path: Path) -> None:
    grid = ("optimizer.lr=1e-3,1e-2", "method.temperature=range(0.1,0.4,0.1)")
    launcher = Launcher(status=lambda number: "failed" if number == 1 else "finished")
    made = "sweeper/sampler=grid"
    with pytest.raises(Killed):
        searched(tmp_path, made, knobs=grid, launcher=killed(Launcher()))
    searched(tmp_path, made, knobs=grid, launcher=launcher)
    assert {tuple(row[3:5]) for row in table(tmp_path)[1:]} == {
        (lr, temperature) for lr in ("0.001", "0.01") for temperature in ("0.1", "0.2", "0.3")
    }
    assert len(table(tmp_path)) == 7


def test_a_point_is_not_run_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launcher = searched(tmp_path, "sweeper.n_trials=6", knobs=["method.temperature=0.1,0.4"])
    assert sorted(launcher.lines) == [["method.temperature=0.1"], ["method.temperature=0.4"]]
    values = {row[3]: float(row[2]) for row in table(tmp_path)[1:]}
    assert all(float(row[2]) == values[row[3]] for row in table(tmp_path)[1:])
    assert "6 trials: 2 finished, 4 repeated" in capsys.readouterr().out


@pytest.mark.slow
def test_another_storage_is_shared_by_folders(tmp_path: Path) -> None:
    there = (f"sweeper.storage={tmp_path / 'all.log'}", "sweeper.study_name=x")
    with pytest.raises(Killed):
        searched(tmp_path / "a", *there, "sweeper.n_trials=5", launcher=killed(Launcher()))
    assert len(searched(tmp_path / "b", *there, "sweeper.n_trials=5").lines) == 2
    assert len(searched(tmp_path / "a", *there, "sweeper.n_trials=5").lines) == 1
    assert statuses(tmp_path / "a") == ["finished"] * 5


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("sweeper.n_trials=0", "n_trials=0: must be a whole number"),
        ("sweeper.n_jobs=2", "this launcher runs one after another: add hydra/launcher=joblib"),
        ("sweeper.direction=minimize", "would search for the worst val/knn_top1"),
        ("sweeper.direction=up", "direction=up: maximize or minimize"),
        ("sweeper.max_failure_rate=2", "max_failure_rate=2: must be between 0 and 1"),
        ("sweeper.study_name=1", "study_name=1: give a name"),
        ("sweeper.sampler.seed=abc", "^hydra.sweeper.sampler.seed=abc: give a whole number from 0"),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (
                ("sweeper.sampler.seed=-1", "sampler.seed=-1: give a whole number"),
                ("sweeper.sampler.seed=1.5", "sampler.seed=1.5: give a whole number"),
                (
                    "sweeper.sampler.n_startup_trials=few",
                    "^hydra.sweeper.sampler.n_startup_trials=few: give a whole number$",
                ),
                (
                    "sweeper.sampler.group=no_",
                    "^hydra.sweeper.sampler.group=no_: give true or false$",
                ),
            )
        ),
        ("sweeper/sampler=grid", "a grid needs values one by one"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        searched(tmp_path / "new", setting)
    assert not any((tmp_path / "new").iterdir())


@pytest.mark.slow
def test_a_pruner_counts_in_the_epochs_of_a_run(tmp_path: Path) -> None:
    searched(tmp_path, "sweeper/pruner=hyperband", "sweeper.n_trials=1")
    link = TrialLink.of(tmp_path / "0")
    assert link is not None
    assert link.pruner["max_resource"] == 12  # the default of epochs
    assert link.storage == str(tmp_path / JOURNAL)


def test_knobs_come_from_the_config_too(tmp_path: Path) -> None:
    params = "sweeper.params={method.temperature: 'interval(0.02,1)', optimizer.lr: 0.1}"
    launcher = searched(tmp_path, params, "sweeper.n_trials=1", knobs=["optimizer.lr=0.2"])
    temperature, rate = launcher.lines[0]
    assert temperature.startswith("method.temperature=0.")
    assert rate == "optimizer.lr=0.2"


@pytest.mark.slow
def test_the_end_of_a_search(
    tmp_path: Path, pictures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    knobs = ["sweep=x", *KNOBS, "seed=3", "backbone.widths=[8,16]"]
    status = {5: "nan", 6: "failed", 7: "pruned"}.get
    launcher = Launcher(status=lambda number: status(number, "finished"))
    searched(tmp_path, "sweeper.n_trials=12", knobs=knobs, launcher=launcher)
    said = capsys.readouterr().out
    assert "13 trials: 10 finished, 1 nan, 1 failed, 1 pruned" in said
    best = max(table(tmp_path)[1:], key=lambda row: float(row[2] or 0))
    assert f"best: trial {best[0]}, val/knn_top1 {100 * float(best[2]):.1f}%" in said
    point = f"method.temperature={best[3]} optimizer.lr={best[4]}"
    assert f"python train.py {point} seed=3 'backbone.widths=[8,16]'\n" in said
    assert f"python train.py -m {point} 'backbone.widths=[8,16]' seed=0,1,2\n" in said
    assert not (tmp_path / "optuna_workers").exists()
    for name in ("history.png", "importance.png"):
        assert (tmp_path / name).stat().st_size > 5000


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
