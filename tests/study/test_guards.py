"""Each guard fires on a planted violation, names what and where, and on nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.study_folders import (
    METRIC,
    Writer,
    edit_json,
    edit_ledger,
    edit_rows,
    edit_yaml,
    evaluated,
    reseal,
    sha_of_images,
    study,
)
from helpers.tiers import first_tier, only
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.study.dimensions import dimension_of
from ssl_zoo.study.folder import RunRow, Score, StudyFolder, read_rows, write_rows
from ssl_zoo.study.guards import FAILS, OPEN, PASSES, WARNS, Outcome, check
from ssl_zoo.study.reading import read_study


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("study") / "fair", seeds=2).folder.path


@pytest.fixture
def folder(fair: Path, tmp_path: Path) -> StudyFolder:
    """A copy to spoil."""
    return StudyFolder(shutil.copytree(fair, tmp_path / "study"))


def outcomes(folder: StudyFolder) -> dict[str, Outcome]:
    return {outcome.guard: outcome for outcome in check(read_study(folder))}


def failing(folder: StudyFolder) -> dict[str, list[str]]:
    return {guard: o.failures for guard, o in outcomes(folder).items() if o.failures}


def test_a_fair_study_passes(folder: StudyFolder) -> None:
    assert {guard: o.level for guard, o in outcomes(folder).items()} == {
        f"G{i}": PASSES for i in range(1, 13)
    }


def test_a_loss_that_is_0_throughout_is_not_one_seed_twice(folder: StudyFolder) -> None:
    """Such as a margin's that no pair violates."""
    for metrics in folder.path.glob("finals/moco/*/metrics.csv"):
        lines = [line.split(",") for line in metrics.read_text().splitlines()]
        flat = [[*line[:4], "0.0"] if line[3].startswith("train/loss") else line for line in lines]
        metrics.write_text("\n".join(map(",".join, flat)) + "\n")
    assert "G9" not in failing(folder)


def _row(folder: StudyFolder, table: str, place: str, **changes: Any) -> None:
    """Change a row."""
    edit_rows(
        getattr(folder, table), lambda row: replace(row, **changes) if row.folder == place else row
    )


def _without(folder: StudyFolder, table: str, place: str) -> None:
    edit_rows(getattr(folder, table), lambda row: None if row.folder == place else row)


def _config(folder: StudyFolder, place: str, change: Callable[[dict[str, Any]], object]) -> None:
    edit_yaml(folder.path / place / "config.yaml", change)


def _facts(folder: StudyFolder, places: str, **facts: Any) -> None:
    """What runs say of themselves, and their rows with them."""
    for file in folder.path.glob(f"{places}/result.json"):
        edit_json(file, lambda content: content["facts"].update(facts))
    for table in (folder.trials, folder.finals):
        edit_rows(
            table,
            lambda row: replace(row, **facts) if (folder.path / row.folder).match(places) else row,
        )


# ---- G1 to G3: test, the selection ----


def early_evaluation(folder: StudyFolder) -> None:
    folder.results.unlink()
    folder.ledger.unlink()
    for place in ("finals", "floors", "ceiling", "trials/moco"):
        shutil.rmtree(folder.path / place)
    evaluated(folder.path / "trials/simclr/1/evaluation/knn.json", 0.5)


def early_evaluation_cleared(folder: StudyFolder) -> None:
    """The JSON was deleted, a table beside it was not."""
    early_evaluation(folder)
    file = folder.path / "trials/simclr/1/evaluation/knn.json"
    file.rename(file.with_name("knn_per_class.csv"))


def logged_test(folder: StudyFolder) -> None:
    RunFolder(folder.path / "trials/moco/2").append_metrics(11, {"test/top1": 0.7}, 3, 3600)


def line_before_the_seal(folder: StudyFolder) -> None:
    early = {"time": "2026-11-26T11:30:00+00:00"}
    first = folder.read_ledger()[0]["id"]
    edit_ledger(folder, lambda line: line | (early if line["id"] == first else {}))


def test_without_a_selection(folder: StudyFolder) -> None:
    folder.selection.unlink()


def under_another_selection(folder: StudyFolder) -> None:
    edit_ledger(folder, lambda line: line | {"selection_sha": "f" * 64})


def read_twice(folder: StudyFolder) -> None:
    lines = folder.read_ledger()
    again = [line | {"id": "again"} for line in lines if line["id"] == lines[0]["id"]]
    writer = Writer(folder.path, None)  # type: ignore[arg-type]
    for line in [*lines, *again]:
        writer.add_line(line)
    writer.write_ledger()


def edited_ledger(folder: StudyFolder) -> None:
    text = folder.ledger.read_text()
    folder.ledger.write_text(text.replace('"seed": 101', '"seed": 105', 1))


def another_checkpoint(folder: StudyFolder) -> None:
    (folder.path / "finals/moco/seed102/checkpoints/last.ckpt").write_text("trained longer")


def first_line_removed(folder: StudyFolder) -> None:
    lines = folder.ledger.read_text().splitlines(keepends=True)
    folder.ledger.write_text("".join(lines[2:]))


def seed_left_out(folder: StudyFolder) -> None:
    """The worst seed's score is removed from results.csv."""
    write_rows(folder.results, read_rows(folder.results, Score)[1:], Score)


def score_of_another(folder: StudyFolder) -> None:
    rows = read_rows(folder.results, Score)
    write_rows(folder.results, [replace(rows[0], method="moco"), *rows[1:]], Score)


def unknown_reading(folder: StudyFolder) -> None:
    rows = read_rows(folder.results, Score)
    write_rows(folder.results, [replace(rows[0], reading="r99"), *rows[1:]], Score)


def edited_trials(folder: StudyFolder) -> None:
    """The score of a run, everything else done to hide it."""
    _row(folder, "trials", "trials/simclr/0", score=0.9)


def hidden_edit(folder: StudyFolder) -> None:
    _row(folder, "trials", "trials/simclr/0", score=0.9)
    reseal(folder)


def edited_selection(folder: StudyFolder) -> None:
    edit_json(folder.selection, lambda content: content["methods"]["simclr"].update(trial=0))


def another_selection(folder: StudyFolder) -> None:
    methods = folder.read_json(folder.selection)["methods"]
    methods["simclr"] |= {"trial": 2}
    reseal(folder, methods=methods)


def edited_plan(folder: StudyFolder) -> None:
    edit_json(folder.plan, lambda content: content["data"].update(duplicates=0, code="x"))


def other_result(folder: StudyFolder) -> None:
    file = folder.path / "trials/moco/1/result.json"
    edit_json(file, lambda content: content["metrics"].update({METRIC: 0.99}))


def other_values(folder: StudyFolder) -> None:
    _config(folder, "trials/moco/1", lambda c: c["method"].update(temperature=0.5))


def other_final_config(folder: StudyFolder) -> None:
    _config(folder, "finals/moco/seed101", lambda c: c["method"].update(hidden_dim=4096))


def edited_results(folder: StudyFolder) -> None:
    rows = read_rows(folder.results, Score)
    write_rows(folder.results, [replace(rows[0], value=0.99), *rows[1:]], Score)


def other_sealed_values(folder: StudyFolder) -> None:
    methods = folder.read_json(folder.selection)["methods"]
    methods["simclr"]["values"]["method.temperature"] = 0.07
    reseal(folder, methods=methods)


def other_headline(folder: StudyFolder) -> None:
    edit_json(
        folder.path / "finals/simclr/seed101/evaluation/knn.json",
        lambda content: content.update(headline="test_top5"),
    )


def more_test_images(folder: StudyFolder) -> None:
    rows = read_rows(folder.results, Score)
    write_rows(folder.results, [replace(rows[0], num_test=40_000), *rows[1:]], Score)


def failed_that_finished(folder: StudyFolder) -> None:
    _row(folder, "trials", "trials/moco/0", status="failed", score=None)
    reseal(folder)


# ---- G4 to G9: what must be equal ----


def relist(folder: StudyFolder, lines: list[str]) -> None:
    """Change plan/images.txt, with its hash in plan.json, as if the images had been so."""
    text = "".join(f"{line}\n" for line in lines)
    folder.images.write_text(text)
    sha = sha_of_images(["disc", "ring"], text)
    edit_json(folder.plan, lambda content: content["data"].update(contents_sha=sha))
    reseal(folder)


def leak(folder: StudyFolder) -> None:
    """The last images of test are those that train begins with."""
    lines = folder.images.read_text().splitlines()
    relist(folder, [*lines[:-7], *(line.replace("train", "test") for line in lines[:7])])


def one_image_less(folder: StudyFolder) -> None:
    relist(folder, folder.images.read_text().splitlines()[1:])


def listed_otherwise(folder: StudyFolder) -> None:
    folder.images.write_text(folder.images.read_text().replace("train", "test", 1))


def counted_otherwise(folder: StudyFolder) -> None:
    edit_json(folder.plan, lambda content: content["data"]["overlaps"].update({"train/test": 7}))
    reseal(folder)


def counted_and_not_listed(folder: StudyFolder) -> None:
    counted_otherwise(folder)
    folder.images.unlink()


def not_compared(folder: StudyFolder) -> None:
    edit_json(folder.plan, lambda content: content["data"].pop("overlaps"))
    folder.images.unlink()
    reseal(folder)


def another_backbone(folder: StudyFolder) -> None:
    for file in folder.path.glob("*/moco/*/config.yaml"):
        edit_yaml(file, lambda content: content["backbone"].update(widths=[8, 64]))


def another_rule(folder: StudyFolder) -> None:
    """lr follows from what is searched; the rule does not."""
    _config(folder, "trials/moco/0", lambda content: content["optimizer"].update(lr_rule="none"))


def another_batch_size_once(folder: StudyFolder) -> None:
    _config(folder, "trials/simclr/0", lambda content: content.update(batch_size=512))


def nothing_held(folder: StudyFolder) -> None:
    edit_yaml(folder.settings, lambda content: content.update(held=[]))


def missing_trial(folder: StudyFolder) -> None:
    _without(folder, "trials", "trials/moco/0")
    reseal(folder)


def unlisted_trial(folder: StudyFolder) -> None:
    shutil.copytree(folder.path / "trials/moco/0", folder.path / "trials/moco/7")
    shutil.rmtree(folder.path / "trials/moco/7/evaluation")


def one_trial_more(folder: StudyFolder) -> None:
    edit_yaml(folder.settings, lambda content: content.update(trials=2))


def missing_seed(folder: StudyFolder) -> None:
    _without(folder, "finals", "finals/moco/seed102")


def more_images(folder: StudyFolder) -> None:
    for file in folder.path.glob("*/moco/*/metrics.csv"):
        file.write_text(file.read_text().replace(",3600,", ",3672,"))
    _facts(folder, "*/moco/*", images_seen=3672)
    reseal(folder)


def more_views(folder: StudyFolder) -> None:
    _facts(folder, "*/moco/*", views_seen=4 * 3600)
    edit_yaml(folder.settings, lambda content: content.update(unit="views"))
    reseal(folder)


def dirty(folder: StudyFolder) -> None:
    _facts(folder, "*/*/*", code="0123456789ab+77aa88bb")
    edit_json(folder.plan, lambda content: content.update(code="0123456789ab+77aa88bb"))
    reseal(folder)


def two_commits(folder: StudyFolder) -> None:
    _facts(folder, "finals/*/*", code="ba9876543210")


def other_libraries(folder: StudyFolder) -> None:
    for file in folder.path.glob("finals/moco/*/result.json"):
        edit_json(file, lambda content: content["facts"].update(versions={"torch": "2.12.0"}))


def other_device(folder: StudyFolder) -> None:
    _facts(folder, "finals/moco/*", device="NVIDIA H100")


def other_data(folder: StudyFolder) -> None:
    _facts(folder, "finals/moco/*", data_sha="0" * 64)


def fewer_images_in_val(folder: StudyFolder) -> None:
    edit_json(folder.path / "trials/moco/1/result.json", lambda c: c["facts"].update(val=50))


def other_protocol(folder: StudyFolder) -> None:
    rows = read_rows(folder.results, Score)
    other = replace(rows[0], protocol_id="ffffffff")
    write_rows(folder.results, [other, *rows[1:]], Score)
    file = folder.path / rows[0].folder
    file.write_text(file.read_text().replace("0a1b2c3d", "ffffffff"))


def repeated_seed(folder: StudyFolder) -> None:
    _row(folder, "finals", "finals/moco/seed102", seed=101)


def seed_not_set(folder: StudyFolder) -> None:
    _config(folder, "finals/moco/seed102", lambda content: content.update(seed=101))


def same_views(folder: StudyFolder) -> None:
    _facts(folder, "finals/moco/*", views_sha="a" * 64)


def same_losses(folder: StudyFolder) -> None:
    source = folder.path / "finals/moco/seed101/metrics.csv"
    shutil.copy(source, folder.path / "finals/moco/seed102/metrics.csv")


def searched_seed(folder: StudyFolder) -> None:
    _row(folder, "finals", "finals/moco/seed102", seed=1)


# ---- G11 and G12 ----


def best_epoch(folder: StudyFolder) -> None:
    """The curve falls at its end, and the table has its highest point."""
    for place in ("trials/simclr/1", "trials/simclr/0"):
        run = RunFolder(folder.path / place)
        run.append_metrics(11, {METRIC: 0.1}, 3, 3600)
        edit_json(run.result, lambda content: content["metrics"].update({METRIC: 0.1}))
        peak = max(value for _, value in run.read_metrics()[METRIC])
        _row(folder, "trials", place, score=peak)
    reseal(folder)


def best_metric(folder: StudyFolder) -> None:
    edit_yaml(folder.settings, lambda content: content.update(metric=f"{METRIC}_best"))


def best_checkpoint(folder: StudyFolder) -> None:
    file = folder.path / "finals/moco/seed101/evaluation/knn.json"
    edit_json(
        file, lambda content: content.update(ckpt="finals/moco/seed101/checkpoints/best.ckpt")
    )


def measured_too_early(folder: StudyFolder) -> None:
    RunFolder(folder.path / "trials/moco/1").append_metrics(20, {"train/loss": 1.0}, 5, 3600)


def of_test(folder: StudyFolder) -> None:
    edit_yaml(folder.settings, lambda content: content.update(metric="test/knn_top1"))


def same_images(folder: StudyFolder) -> None:
    edit_json(folder.plan, lambda content: content["data"]["overlaps"].update({"val/test": 100}))
    reseal(folder)


def same_folder(folder: StudyFolder) -> None:
    place = {"val_dir": "/data/holdout", "test_dir": "/data/holdout"}
    for file in folder.path.glob("*/*/*/config.yaml"):
        edit_yaml(file, lambda content: content["dataset"].update(place))


PLANTED = [
    ("G1", early_evaluation, "trials/simclr/1/evaluation/knn.json has scores on test"),
    ("G1", early_evaluation_cleared, "trials/simclr/1 was evaluated, of which the ledger knows"),
    ("G1", logged_test, "trials/moco/2 logged test/top1"),
    ("G1", line_before_the_seal, "simclr, seed 101 (method) at 2026-11-26T11:30:00+00:00, before"),
    ("G1", test_without_a_selection, "and no selection is sealed"),
    ("G1", under_another_selection, "under another selection.json"),
    ("G2", read_twice, "method: simclr, seed 101, knn: test was read 2 times"),
    ("G2", edited_ledger, "line 2 does not follow the one before it"),
    ("G2", first_line_removed, "line 1 does not follow the one before it"),
    ("G2", seed_left_out, "simclr, seed 101 (method): test was read, and results.csv has no score"),
    ("G2", score_of_another, "has moco, seed 101 (method), of the reading of simclr, seed 101"),
    ("G2", another_checkpoint, "finals/moco/seed102: its last.ckpt is not the checkpoint"),
    ("G2", unknown_reading, "the reading r99, not in ledger"),
    ("G3", edited_trials, "trials.csv was changed after the selection was sealed"),
    ("G3", hidden_edit, "trials/simclr/0: val/knn_top1 is 0.9000 in the table, 0.5"),
    ("G3", edited_selection, "selection.json was changed after it was sealed"),
    ("G3", another_selection, "simclr: trial 2 was selected"),
    ("G3", edited_plan, "plan.json was changed after the selection was sealed"),
    ("G3", other_result, "trials/moco/1: val/knn_top1 is 0.5"),
    ("G3", other_values, "method.temperature is 0.14"),
    ("G3", other_final_config, "seed101 differs from the selected trial 1 in method.hidden_dim"),
    ("G3", edited_results, "results.csv: simclr, seed 101, knn, test_top1 is 0.9900"),
    ("G3", other_sealed_values, "simclr: the sealed values are not those of trial 1"),
    (
        "G3",
        other_headline,
        "the headline of finals/simclr/seed101/evaluation/knn.json is test_top5",
    ),
    (
        "G3",
        more_test_images,
        "is of 40000 images, finals/simclr/seed101/evaluation/knn.json of 400",
    ),
    ("G3", failed_that_finished, "trials/moco/0 is failed in the table, finished in its result"),
    ("G4", leak, "7 images are in both of train and test"),
    ("G4", one_image_less, "had not the 899 train images that are listed"),
    ("G4", listed_otherwise, "plan/images.txt, or its hash in plan.json, was changed"),
    ("G4", counted_otherwise, "shared images, plan/images.txt has"),
    ("G4", counted_and_not_listed, "7 images are in both of train and test"),
    ("G4", not_compared, "the plan has not compared the images"),
    ("G5", another_backbone, "backbone.widths is [8, 16] in simclr; [8, 64] in moco"),
    ("G5", another_batch_size_once, "batch_size is 512 in trials/simclr/0; 300 in moco"),
    ("G5", another_rule, 'optimizer.lr_rule is "linear" in simclr'),
    ("G5", nothing_held, "held is empty"),
    ("G6", missing_trial, "moco: trial 0 is missing in trials.csv"),
    ("G6", unlisted_trial, "trials/moco/7 is a run that trials.csv does not list"),
    ("G6", one_trial_more, "simclr: 1 trials more than trials=2"),
    ("G6", missing_seed, "moco: finals.csv has 1 seeds, not seeds=2"),
    ("G6", more_images, "had 3,672 (+2.0%)"),
    ("G6", more_views, "had 14,400 (+100.0%)"),
    ("G7", dirty, "0123456789ab+77aa88bb is a checkout with changes"),
    ("G7", two_commits, "runs of 2 states of the code"),
    ("G7", other_libraries, "libraries differ: torch 2.11.0/2.12.0"),
    ("G7", other_device, "devices differ: cpu"),
    ("G8", other_data, "finals/moco/seed101, finals/moco/seed102 had other images"),
    ("G8", fewer_images_in_val, "trials/moco/1 had another number of val"),
    ("G8", other_protocol, "knn: scores with the ids 0a1b2c3d, ffffffff are not comparable"),
    ("G9", repeated_seed, "moco: seed 101 is there twice"),
    ("G9", seed_not_set, "finals/moco/seed102 is seed 102 in the table, 101 in its config.yaml"),
    ("G9", same_views, "are of different seeds: the same augmented views"),
    ("G9", same_losses, "are of different seeds: the same losses"),
    ("G9", searched_seed, "seed 1 of the final runs was used in the search"),
    ("G11", best_epoch, "is the best of val/knn_top1 over epochs; at the last step it is 0.1000"),
    ("G11", best_metric, "val/knn_top1_best is the best over epochs"),
    ("G11", best_checkpoint, "finals/moco/seed101/evaluation/knn.json scored"),
    ("G11", measured_too_early, "was last measured at step 11, the run went on to 20"),
    ("G12", of_test, "metric=test/knn_top1 is not of val"),
    ("G12", same_images, "val and test are the same images (100 of them)"),
    ("G12", same_folder, "dataset.val_dir and dataset.test_dir are both /data/holdout"),
]

FIRST = [
    *(early_evaluation, read_twice, hidden_edit, leak, another_backbone, more_images, dirty),
    *(other_data, repeated_seed, best_epoch, same_images),
]


@pytest.mark.parametrize(
    ("guard", "plant", "line"),
    first_tier(PLANTED, lambda one: one[1] in FIRST),
    ids=lambda value: getattr(value, "__name__", value) if callable(value) else "",
)
def test_a_planted_violation_fires(
    folder: StudyFolder, guard: str, plant: Callable[[StudyFolder], None], line: str
) -> None:
    plant(folder)
    found = failing(folder)
    assert guard in found, found
    assert any(line in text for text in found[guard]), found[guard]


def test_every_guard_has_a_planted_violation() -> None:
    for plants in (PLANTED, [one for one in PLANTED if one[1] in FIRST]):
        assert {guard for guard, _, _ in plants} | {"G10"} == {f"G{i}" for i in range(1, 13)}


def test_a_value_at_the_edge_is_a_warning(folder: StudyFolder) -> None:
    edit_yaml(
        folder.settings, lambda c: c["search"].update({"optimizer.base_lr": "interval(1e-3,1)"})
    )
    found = outcomes(folder)["G10"]
    assert found.level == WARNS
    assert found.warnings[0].startswith(
        "simclr: optimizer.base_lr=0.001 is at the edge of interval"
    )
    assert not failing(folder)


@pytest.mark.slow
def test_failures_are_counted_as_trials(tmp_path: Path) -> None:
    folder = study(tmp_path / "study", failing=[("moco", 0)], seeds=2).folder
    found = outcomes(folder)
    assert found["G6"].warnings == ["moco: 1 runs without a score (1 nan); they count as trials"]
    assert not failing(folder)


@pytest.mark.slow
def test_a_method_whose_every_trial_failed(tmp_path: Path) -> None:
    lost = [("moco", trial) for trial in range(3)]
    folder = study(tmp_path / "study", failing=lost, seeds=2).folder
    assert not failing(folder)
    assert (
        "moco: nothing was selected for it: it has no final runs" in outcomes(folder)["G6"].warnings
    )


@pytest.mark.slow
def test_what_may_differ_is_a_footnote(folder: StudyFolder) -> None:
    another_backbone(folder)
    edit_yaml(folder.settings, lambda content: content.update(allow_differ=["backbone"]))
    found = outcomes(folder)["G5"]
    assert found.level == WARNS
    assert found.warnings[0].endswith("(allow_differ)")


@pytest.mark.slow
def test_a_reading_that_a_kill_cut_short_may_be_repeated(folder: StudyFolder) -> None:
    lines = folder.read_ledger()
    writer = Writer(folder.path, None)  # type: ignore[arg-type]
    for line in [lines[0], *lines]:
        writer.add_line(line)
    writer.write_ledger()
    found = outcomes(folder)["G2"]
    assert found.level == WARNS
    assert "opened 2 times" in found.warnings[0]


@pytest.mark.parametrize("until", only(["search"], ["plan", "search", "seal", "train_finals"]))
def test_a_study_that_is_half_done_is_not_unfair(tmp_path: Path, until: str) -> None:
    folder = study(tmp_path / "study", until, trials=2, seeds=2).folder
    found = outcomes(folder)
    assert not failing(folder)
    assert found["G2"].level == OPEN
    assert (found["G3"].level == OPEN) == (until in ("plan", "search"))


@pytest.mark.slow
def test_a_study_of_folds_passes(tmp_path: Path) -> None:
    folder = study(tmp_path / "study", folds=2, trials=2, seeds=2).folder
    assert not failing(folder)


@pytest.mark.slow
def test_waived(folder: StudyFolder) -> None:
    dirty(folder)
    edit_yaml(folder.settings, lambda content: content.update(waive=["G7"]))
    found = outcomes(folder)["G7"]
    assert (found.level, found.waived, found.is_unfair) == (FAILS, True, False)


def test_tables_are_read_with_values_as_json(fair: Path) -> None:
    rows = read_rows(StudyFolder(fair).trials, RunRow)
    assert json.loads(rows[0].values).keys() == {"optimizer.base_lr", "method.temperature"}


@pytest.mark.parametrize(
    ("written", "inside", "edges"),
    [
        ("interval(0,1)", [0.06, 0.5], [0.05, 0.96]),
        ("tag(log,interval(1e-4,1e-2))", [1.3e-4, 1e-3], [1.2e-4, 9e-3]),
        ("range(1,5)", [2, 3], [1, 4]),
        ("choice(0.1,0.2,0.4)", [0.2], [0.1, 0.4]),
        ("choice(64,128)", [64, 128], []),  # each of two is at an end
        ("choice(true,false,null)", [1.0], []),
        ("interval(broken", [0.0], []),
    ],
)
def test_edges_of_dimensions(written: str, inside: list[float], edges: list[float]) -> None:
    dimension = dimension_of(written)
    assert [dimension.is_edge(value) for value in inside] == [False] * len(inside)
    assert [dimension.is_edge(value) for value in edges] == [True] * len(edges)


@pytest.mark.slow
def test_with_folds_an_image_in_two_classes_is_in_two_parts_of_one(tmp_path: Path) -> None:
    folder = study(tmp_path / "folds", folds=2).folder
    assert not failing(folder)
    lines = folder.images.read_text().splitlines()
    relist(folder, [f"{lines[0][:-1]}1", *lines[1:]])  # another label changes nothing
    assert not failing(folder)
    relist(folder, [*lines[:-500], f"{lines[0][:-1]}1", *lines[-499:]])
    assert failing(folder) == {
        "G4": [
            "1 images are in two classes or more, so that a fold may have them in both of train "
            "and val"
        ]
    }
