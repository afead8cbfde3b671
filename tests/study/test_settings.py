"""A study's settings: what is read, and the lines about what makes no sense."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from helpers.studies import TINY_STUDY, tiny, write_tiny
from ssl_zoo.study.cli import help_text
from ssl_zoo.study.settings import KNOBS, changed, differences, read_folder, read_settings
from ssl_zoo.types import UserError


def read(folder: Path, *args: str) -> object:
    return read_settings([f"study={write_tiny(folder)}", *args])


def test_knobs_and_overrides_are_told_apart(tmp_path: Path) -> None:
    file = write_tiny(tmp_path)
    settings = read_settings(
        [
            *(f"study={file}", "trials=7", "epochs=3", "rerun.configs=2", "waive=[G7]"),
            *(
                "dataset.splits.num_train=100",
                "methods.simclr.search.method.embed_dim=choice(8,16)",
            ),
            "search.optimizer.weight_decay=tag(log,interval(1e-5,1e-3))",
        ]
    )
    assert settings.name == "tiny"
    assert (settings.trials, settings.rerun, settings.waive) == (
        7,
        {"configs": 2, "seeds": 1},
        ["G7"],
    )
    assert settings.overrides == ["epochs=3", "dataset.splits.num_train=100"]
    assert settings.search == {
        "optimizer.base_lr": "tag(log,interval(0.01,1))",
        "optimizer.weight_decay": "tag(log,interval(1e-5,1e-3))",
    }
    assert settings.methods["simclr"]["search"] == {
        "method.temperature": "tag(log,interval(0.05,1))",
        "method.embed_dim": "choice(8,16)",
    }
    # the command line goes last, so that it counts
    assert settings.overrides_of("simclr")[-2:] == settings.overrides
    assert settings.overrides_of("simclr")[:9] == TINY_STUDY["common"]


def test_methods_may_be_some_of_the_files_or_train_pys(tmp_path: Path) -> None:
    settings = read_settings([f"study={write_tiny(tmp_path)}", "methods=[simsiam,byol]"])
    assert list(settings.methods) == ["simsiam", "byol"]
    assert settings.methods["simsiam"]["overrides"][0] == "method=simsiam"
    assert settings.methods["byol"] == {"overrides": ["method=byol"], "search": {}}


@pytest.mark.parametrize(
    ("arg", "line"),
    [
        ("trials=0", "trials=0: give a whole number of at least 1"),
        ("trials=many", "trials=many: give a whole number of at least 1"),
        ("seeds=1", "seeds=1: give a whole number of at least 2"),
        ("rerun.seeds=-1", "rerun.seeds=-1: give a whole number of at least 0"),
        ("rerun.config=1", r"rerun=.* give rerun.configs=N rerun.seeds=N"),
        ("metric=test/knn_top1", "metric=test/knn_top1: configurations are selected on val"),
        ("metric=knn_top1", "metric=knn_top1: configurations are selected on val"),
        ("sampler=tpf", r"sampler=tpf is unknown: did you mean tpe\?"),
        ("unit=hours", "unit=hours is unknown"),
        ("launcher=slurm", "launcher=slurm is unknown"),
        ("floors=yess", "floors=yess: give true or false"),
        ("jobs=0", "jobs=0: give a whole number of at least 1"),
        ("protocols=[knnn]", r"protocols=knnn is not a protocol: did you mean knn\?"),
        ("protocols=[]", "protocols=.*: give at least one"),
        ("folds=['dataset.fold=0']", "folds=.*give different overrides"),
        ("folds=[dataset.fold=0]", r"folds=\[dataset.fold=0\] cannot be read: quote the texts"),
        ("methods=[simclr,mocoo]", r"methods=mocoo is not a method: did you mean moco or mocov3\?"),
        ("methods.moco.search.method.temperature=interval(0,1)", "moco is not a method of this"),
        ("trials=1,2", r"trials=1,2 is several values: a list is trials=\[1,2\]"),
        ("epochs=1,2", "epochs=1,2 is several values: what is searched is search.epochs='1,2'"),
        ("seed=3", "seed=3: the study gives each run its seed"),
        ("resume=runs/x", "resume=runs/x: a study goes on by the same command"),
        ("hydra.run.dir=x", "hydra.run.dir=x: a study starts its runs without Hydra's"),
        ("-m", "-m: a study starts its runs itself"),
        ("fast", "fast is not KEY=VALUE"),
        ("trails=3", "trails is neither a knob of a study nor of train.py: did you mean trials"),
        ("protocol=[knn]", "protocol is neither a knob of a study nor of .*: did you mean protoc"),
        ("trials.x=1", "trials.x is not a knob of a study: give trials=VALUE"),
    ],
)
def test_bad_input_gives_one_line(arg: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line) as raised:
        read(tmp_path, arg)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"trails": 3}, "trails is not a knob of a study: did you mean trials"),
        ({"methods": {}}, "methods: name at least one"),
        ({"methods": {"a b": {}}}, "methods.a b: a name is of letters"),
        ({"methods": {"x": {"overides": []}}}, "methods.x.overides is not known"),
        ({"methods": {"x": {"overrides": "method=moco"}}}, "methods.x.overrides=.*give a list"),
        ({"methods": {"x": {"overrides": ["seed=1"]}}}, "seed=1: the study gives each run"),
        ({"search": ["optimizer.lr"]}, "search=.*give KNOB"),
        ({"overrides": ["epochs=1"]}, "overrides of train.py for all methods are its common"),
    ],
)
def test_a_bad_file_gives_one_line(tree: dict[str, object], line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line):
        read_settings([f"study={write_tiny(tmp_path, **tree)}"])


def test_an_unknown_study_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study=five_method is not a study: did you mean five_met"):
        read_settings(["study=five_method"])
    with pytest.raises(UserError, match=r"give study=NAME, one of .*five_methods"):
        read_settings(["trials=2"])
    with pytest.raises(UserError, match="does not exist"):
        read_settings([f"study={tmp_path / 'none.yaml'}"])


def test_a_folder_holds_all_of_them_and_the_command(tmp_path: Path) -> None:
    settings = tiny(folds=["dataset.fold=0", "dataset.fold=1"], out=str(tmp_path))
    settings.write(tmp_path / "study.yaml", "python -m ssl_zoo.study plan study=tiny")
    assert read_folder(tmp_path / "study.yaml") == settings
    text = (tmp_path / "study.yaml").read_text()
    assert text.startswith("# python -m ssl_zoo.study plan study=tiny\n")
    assert yaml.safe_load(text)["trials"] == 2


def test_only_how_it_is_run_may_change() -> None:
    began = tiny()
    assert changed(began, ["jobs=3", "waive=[G7]"]).sha() == began.sha()
    with pytest.raises(UserError, match="trials=3: a study goes on with the settings that it"):
        changed(began, ["trials=3"])
    assert differences(tiny(trials=3, jobs=2), began) == ["trials=3 (was 2)"]
    assert tiny(trials=3).sha() != began.sha()


def test_five_methods_searches_what_it_says() -> None:
    settings = read_settings(["study=five_methods"])
    assert list(settings.methods) == ["simclr", "moco", "simsiam", "byol", "instdisc"]
    assert all(len(one["search"]) <= 2 for one in settings.methods.values())
    assert re.match("tag", settings.search["optimizer.base_lr"])


def test_help_names_every_knob_and_study() -> None:
    text = help_text()
    assert [knob for knob in KNOBS if knob not in text] == []
    assert re.search(r"five_methods +SimCLR, MoCo", text)
