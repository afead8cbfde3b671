"""Rows that tell: test folders of unequal, fewer, more or other classes, on PNG files.

Colours are told apart by their pixels, so that a picture in the folder of another colour is an
error of known place.
"""

from __future__ import annotations

import csv
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.neighbors import KNeighborsClassifier

from helpers.command_line import command_line
from helpers.paths import ROOT
from helpers.programs import FOLDER_TINY, folder_overrides, run_protocols
from helpers.protocols import colours, planted, protocol, small_candidate
from helpers.trees import make_colours
from ssl_zoo.data import Augmentation, DataModule
from ssl_zoo.data.images import Splits
from ssl_zoo.evaluation.features import Features
from ssl_zoo.protocols.classification import majority_line
from ssl_zoo.table import print_runs
from ssl_zoo.train import train
from ssl_zoo.types import UserError

TRAIN = {"train/ant": "r" * 10, "train/bee": "g" * 6, "train/cat": "b" * 6}
FROZEN = {
    "knn,linear": ["protocol.linear.epochs=20"],
    "logistic,few_shot": [
        *("protocol.logistic.strengths=[0.1,0.01]", "protocol.few_shot.fractions=[1.0]"),
        *("protocol.few_shot.per_class=[]", "protocol.few_shot.draws=2"),
        "protocol.few_shot.strengths=[0.1]",
    ],
}


def overrides(root: Path) -> list[str]:
    data = [f"dataset.root={root}", f"dataset.cache_dir={root.parent / 'cache'}"]
    small = ["backbone.widths=[8]", "backbone.strides=[2]", "dataset.num_workers=0"]
    return ["ckpt=random", "dataset=folder", *data, *small, f"out={root.parent / 'out'}"]


def scores(root: Path, *others: str) -> dict[str, dict[str, Any]]:
    """By protocol, the row of raw pixels."""
    results = run_protocols(*overrides(root), *others)
    return {name: result["rows"]["raw pixels"] for name, result in results.items()}


def per_class(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_what_the_majority_alone_scores_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = {"test/ant": "r" * 20, "test/bee": "rr", "test/cat": "rr"}
    root = make_colours(tmp_path / "data", {**TRAIN, **test})
    (row,) = scores(root).values()
    assert row["test_top1"] == row["test_top1_k20"] == 20 / 24
    assert row["test_balanced_top1"] == pytest.approx(1 / 3)
    assert row["test_majority_share"] == 20 / 24
    assert row["test_top1_by_class"] == [1.0, 0.0, 0.0]
    assert row["num_test_images"] == 24
    assert "test_top5" not in row  # three classes
    printed = capsys.readouterr().out
    assert (
        "20 of test's 24 images are ant: always answering that scores 83.3 top-1 and 33.3 balanced "
        "top-1\n" in printed
    )
    assert "balanced top1" in printed
    assert "top5" not in printed
    assert json.loads((tmp_path / "out/knn.json").read_text())["rows"]["raw pixels"] == row
    shutil.copytree(tmp_path / "out", tmp_path / "run/evaluation")
    print_runs([tmp_path / "run"])
    (line,) = [s for s in capsys.readouterr().out.splitlines() if "most frequent class" in s]
    assert "83.3" in line
    lines = per_class(tmp_path / "out/knn_per_class.csv")
    assert lines[0] == ["class", "images", "random init", "raw pixels"]
    assert [[line[0], line[1], line[3]] for line in lines[1:]] == [
        ["ant", "20", "1.0"],
        ["bee", "2", "0.0"],
        ["cat", "2", "0.0"],
    ]
    pictures = {path.name for path in (tmp_path / "out/figures").iterdir()}
    assert {"knn_confusion.png", "knn_confusion_raw_pixels.png"} <= pictures


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ([1, 1, 1], "3 of test's 3 images are bee: always answering that scores 100.0 top-1"),
        ([2], "1 of test's 1 images are cat: always answering that scores 100.0 top-1"),
        ([0, 2, 2], "2 of test's 3 images are cat: always answering that scores 66.7 top-1"),
        ([0, 1, 2], None),
        ([0, 0, 2, 2], None),  # test lacks a class, but is even
        ([], None),
    ],
)
def test_a_single_class_is_a_majority_too(label: list[int], says: str | None) -> None:
    line = majority_line(torch.tensor(label, dtype=torch.int64), ["ant", "bee", "cat"])
    assert (line or "").startswith(says or "")
    assert (line is None) == (says is None)


def test_equal_classes_need_no_such_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_colours(tmp_path / "data", {**TRAIN, "test/ant": "rr", "test/bee": "rg"})
    (row,) = scores(root).values()
    assert (row["test_top1"], row["test_majority_share"]) == (0.75, 0.5)
    assert "always answering" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "protocols", ["knn,linear", pytest.param("logistic,few_shot", marks=pytest.mark.slow)]
)
def test_classes_that_both_have_are_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, protocols: str
) -> None:
    test = {"test/ant": "rrrrg", "test/bee": "gg", "test/emu": "mmm"}  # no cat
    root = make_colours(tmp_path / "data", {**TRAIN, **test})
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        rows = scores(root, f"protocol=[{protocols}]", *FROZEN[protocols])
    said = [message for message in caplog.messages if "emu" in message and "lacks" in message]
    assert said == [
        "test has 1 class (emu) that train lacks and lacks 1 class (cat) of train: knn, linear and "
        "other classifiers learn all of train's and are scored on the 2 classes that both have, "
        "without 3 of its 10 images; retrieval and embed take all images"
    ]
    assert list(rows) == protocols.split(",")
    for name, row in rows.items():
        end = "_100pct" if name == "few_shot" else ""
        assert row[f"test_top1{end}"] == pytest.approx(6 / 7), name
        assert row[f"test_balanced_top1{end}"] == pytest.approx((4 / 5 + 1) / 2), name
        assert row[f"test_top1_by_class{end}"] == [0.8, 1.0, None, None], name
        assert row["num_test_images"] == 7
        assert row["test_majority_share"] == pytest.approx(5 / 7)
        lines = per_class(tmp_path / f"out/{name}_per_class.csv")
        assert [line[:2] for line in lines[1:]] == [
            *(["ant", "5"], ["bee", "2"]),
            *(["cat", "0"], ["emu", "3"]),
        ]
        assert [line[3] for line in lines[1:]] == ["0.8", "1.0", "", ""]


def test_classes_that_train_and_test_do_not_share(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    test = {"test/emu": "mmm", "test/gnu": "yyy", "test/hen": "kkw"}
    root = make_colours(tmp_path / "data", {**TRAIN, **test})
    for name in ("knn", "finetune"):
        with pytest.raises(
            UserError, match=rf"^protocol={name}: test has no image of a class"
        ) as e:
            run_protocols(*overrides(root), f"protocol={name}")
        assert str(e.value).endswith(
            "train has 3 classes (ant, bee, cat), test 3 classes (emu, gnu, hen); use "
            "protocol=retrieval or protocol=embed, which need no class in common"
        )
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        (row,) = scores(root, "protocol=retrieval").values()
    assert "retrieval: test's 3 classes are those that are searched for" in caplog.text
    assert (row["num_test_classes"], row["num_test_images"]) == (3, 9)
    assert row["test_precision_at_1"] == pytest.approx(8 / 9)  # w finds none of its class
    assert (row["num_val_folds"], row["val_map_at_r"]) == (1, 1.0)
    table = run_protocols(*overrides(root), "protocol=embed", "protocol.embed.formats=[npz]")
    assert table["embed"]["rows"]["random init"]["num_images"] == 31
    stored = np.load(tmp_path / "out/features_random_init.npz")
    assert stored["class_names"].tolist() == ["ant", "bee", "cat", "emu", "gnu", "hen"]
    emus = [path for path, label in zip(stored["path"], stored["label"], strict=True) if label == 3]
    assert len(emus) == 3
    assert all("/test/emu/" in path for path in emus)


def test_what_chooses_nothing_needs_no_class_of_val(tmp_path: Path) -> None:
    val = {"val/emu": "mm", "val/gnu": "yy"}
    root = make_colours(tmp_path / "data", {**TRAIN, **val, "test/ant": "rr", "test/bee": "gr"})
    row = scores(root)["knn"]
    assert (row["val_top1"], row["test_top1"], row["num_bank"]) == (None, 0.75, 22)
    with pytest.raises(UserError, match=r"^protocol=linear: val has no image of a class"):
        scores(root, "protocol=linear")


@pytest.mark.slow
def test_heads_of_one_setting_need_no_class_of_val(tmp_path: Path) -> None:
    val, test = {"val/emu": "mm", "val/gnu": "yy"}, {"test/ant": "rr", "test/bee": "gr"}
    root = make_colours(tmp_path / "data", {**TRAIN, **val, **test})
    one = {
        "linear": ["learning_rates=[0.1]", "weight_decays=[0]", "epochs=2"],
        "linear_augmented": [
            *("learning_rates=[0.1]", "weight_decays=[0]", "epochs=1", "batch_size=16")
        ],
        "finetune": ["learning_rates=[0.1]", "fractions=[1.0]", "epochs=[1]"],
        "logistic": ["strengths=[0.01]"],
    }
    knobs = [f"protocol.{name}.{knob}" for name, several in one.items() for knob in several]
    out = run_protocols(*overrides(root), f"protocol=[{','.join(one)}]", *knobs)
    for name, result in out.items():
        row = result["rows"]["random init"]
        ends = {"finetune": "_100pct"}
        assert row[f"val_top1{ends.get(name, '')}"] is None, name
        assert row["num_test_images"] == 4
    assert out["finetune"]["rows"]["random init"]["chosen_on"] is None


@pytest.mark.slow
def test_test_images_without_labels(tmp_path: Path) -> None:
    root = make_colours(tmp_path / "data", {**TRAIN, "test": "rgb"})
    with pytest.raises(UserError, match=r"train has 3 classes \(ant, bee, cat\), test no labels;"):
        run_protocols(*overrides(root), "protocol=knn")
    table = run_protocols(*overrides(root), "protocol=embed", "protocol.embed.formats=[npz]")
    assert table["embed"]["rows"]["random init"]["num_images"] == 25


@pytest.mark.slow
def test_of_a_list_of_protocols_those_that_fit_are_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = {**TRAIN, "test/emu": "mmm", "test/gnu": "yyy"}
    root = make_colours(tmp_path / "data", tree)
    with caplog.at_level(logging.WARNING, "ssl_zoo"):
        found = scores(root, "protocol=all_frozen")
    assert list(found) == ["retrieval"]
    assert found["retrieval"]["test_map_at_r"] == 1.0
    left_out = [line for line in caplog.messages if line.endswith("; it is left out")]
    names = ["knn", "linear", "logistic", "few_shot"]
    assert [line.split(": ")[1] for line in left_out] == [f"protocol={name}" for name in names]
    with pytest.raises(UserError, match=r"^protocol=linear: .*test"):
        run_protocols(*overrides(root), "protocol=[linear,knn]")


@pytest.mark.slow
def test_train_images_without_labels(tmp_path: Path) -> None:
    test = {f"test/{name}": colour * 3 for name, colour in zip("abcd", "rgby", strict=True)}
    root = make_colours(tmp_path / "data", {"train": "rgbyrgby", **test})
    with pytest.raises(UserError, match=r"^protocol=knn: no image of train has a label"):
        run_protocols(*overrides(root), "protocol=knn")
    (row,) = scores(root, "protocol=retrieval").values()
    assert (row["num_test_classes"], row["test_map_at_r"], row["val_map_at_r"]) == (2, 1.0, 1.0)


def test_k_above_the_bank_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree = {"train/ant": "rrr", "train/bee": "ggb", "val/ant": "r", "val/emu": "m"}
    root = make_colours(tmp_path / "data", {**tree, "test/ant": "rrr", "test/bee": "gbr"})
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        (row,) = scores(root, "protocol.knn.ks=[1,7,20,100]").values()
    said = [message for message in caplog.messages if message.startswith("knn:")]
    assert said == [
        "knn: k=20, 100 is above the 7 images of train and val, which vote on test: k=7 is used",
        "knn: k=20 is above the 6 images of train, which vote on val: k=6 is used",
    ]
    assert row["num_bank"] == 7
    assert row["test_top1"] == row["test_top1_k7"] == row["test_top1_k100"] == 5 / 6
    assert row["val_top1"] == 1.0  # of its only ant; the emu is left out


# --- against scikit-learn -------------------------------------------------------------------------


def blobs(seed: int, labels: torch.Tensor) -> Features:
    noise = torch.randn(len(labels), 10, generator=torch.Generator().manual_seed(seed))
    return Features(2 * torch.nn.functional.one_hot(labels, 10).float() + noise, labels)


def test_a_row_against_scikit_learn() -> None:
    """Eight classes of train; test lacks one of them and has two more."""
    train, val = blobs(0, torch.arange(240) % 8), blobs(1, torch.arange(80) % 8)
    test = blobs(2, torch.arange(500) % 7 + torch.arange(500) % 4)  # 0 to 9, unequal
    test = Features(*(part[test.label != 2] for part in test))
    known = test.label < 8
    candidate = planted(train, val, test, 8)
    x, y = torch.cat([train[0], val[0]]).numpy(), torch.cat([train[1], val[1]]).numpy()
    reference = KNeighborsClassifier(
        n_neighbors=200, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(x, y)
    share = reference.predict_proba(test.representation[known].numpy())
    truth, predicted = test.label[known].numpy(), share.argmax(axis=1)
    row = protocol("knn", ks=[200], k=200).score(candidate)
    assert row["num_test_images"] == len(truth) < len(test.label)
    assert row["test_top1"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    balanced = metrics.recall_score(truth, predicted, average="macro", labels=np.unique(truth))
    assert row["test_balanced_top1"] == pytest.approx(balanced)
    top5 = metrics.top_k_accuracy_score(truth, share, k=5, labels=np.arange(8))
    assert row["test_top5"] == pytest.approx(top5)
    count = np.bincount(truth)
    assert row["test_majority_share"] == pytest.approx(count.max() / count.sum())
    seen = [0, 1, 3, 4, 5, 6, 7]
    recall = metrics.recall_score(truth, predicted, average=None, labels=seen)
    assert [row["test_top1_by_class"][label] for label in seen] == pytest.approx(recall)
    assert row["test_top1_by_class"][2] is None


def consistent(row: dict[str, Any], end: str = "") -> None:
    """Top-1 and balanced top-1 are means of those of classes, 12 images each."""
    mean = sum(row[f"test_top1_by_class{end}"]) / 5
    assert row[f"test_top1{end}"] == pytest.approx(mean)
    assert row[f"test_balanced_top1{end}"] == pytest.approx(mean)
    assert row["test_majority_share"] == pytest.approx(0.2)


@pytest.mark.slow
def test_rows_of_heads_that_see_crops(tmp_path: Path) -> None:
    candidate = small_candidate(figure_stem=tmp_path / "x")
    quick = {"epochs": 1, "batch_size": 40, "learning_rates": [0.1], "weight_decays": [0.0]}
    consistent(protocol("linear_augmented", **quick).score(candidate))
    assert (tmp_path / "x_confusion.png").is_file()
    knobs = {"fractions": [0.5, 1.0], "epochs": [1, 1], "learning_rates": [0.1], "batch_size": 32}
    row = protocol("finetune", **knobs).score(candidate)
    for end in ("_50pct", "_100pct"):
        consistent(row, end)
        assert (tmp_path / f"x_confusion{end}.png").is_file()


@pytest.mark.slow
def test_heads_that_see_crops_are_scored_on_shared_classes() -> None:
    train, test = colours(200, 0), colours(60, 1)
    train = train.subset((train.labels < 4).nonzero().flatten())
    data = DataModule(Splits(train, test, list("abcde")), Augmentation, num_workers=0)
    candidate = small_candidate(make_data=lambda: data)
    quick = {"epochs": 1, "batch_size": 40, "learning_rates": [0.1], "weight_decays": [0.0]}
    row = protocol("linear_augmented", **quick).score(candidate)
    knobs = {"fractions": [1.0], "epochs": [1], "learning_rates": [0.1], "batch_size": 32}
    tuned = protocol("finetune", **knobs).score(candidate)
    assert row["num_test_images"] == tuned["num_test_images"] == 48
    assert row["test_top1_by_class"][4] is tuned["test_top1_by_class_100pct"][4] is None


# --- training -------------------------------------------------------------------------------------


def logged(run: Path) -> dict[str, float]:
    """The last value of each metric."""
    with (run / "metrics.csv").open(newline="") as file:
        return {row["name"]: float(row["value"]) for row in csv.DictReader(file)}


def trained(root: Path, run: Path) -> Path:
    data = [*folder_overrides(root, run / "cache"), f"run_dir={run}", "batch_size=16"]
    data = [one for one in data if one not in ("callbacks=none", "batch_size=32")]
    with command_line("train", *FOLDER_TINY, *data) as cfg:
        train(cfg)
    return run


@pytest.mark.slow
def test_training_takes_any_classes_of_test_and_val(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = {**TRAIN, "val/ant": "r", "val/emu": "mm", "test/gnu": "yy", "test/hen": "ww"}
    root = make_colours(tmp_path / "data", tree)
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        run = trained(root, tmp_path / "run")
    assert "train and test share no class (train 3 classes (ant, bee, cat), test 2" in caplog.text
    assert "val has 1 class (emu) that train lacks and lacks 2 classes (bee, cat)" in caplog.text
    assert "22 images in 3 classes (ant, bee, cat), val 3, test 4" in caplog.text
    values = logged(run)
    assert values["val/knn_top1"] in (0, 1)  # of its only ant
    assert values["val/probe_top1"] in (0, 1)
    assert "val/map_at_r" not in values


@pytest.mark.slow
def test_a_val_folder_of_classes_of_its_own_is_retrieved(tmp_path: Path) -> None:
    tree = {**TRAIN, "val/emu": "mm", "val/gnu": "yy", "test/hen": "ww", "test/ibis": "kk"}
    root = make_colours(tmp_path / "data", tree)
    run = trained(root, tmp_path / "run")
    names = logged(run)
    assert "val/map_at_r" in names
    assert "val/knn_top1" not in names
    row = run_protocols(f"ckpt={run}", "protocol=retrieval", "baselines=false")["retrieval"]["rows"]
    assert row["pretrained"]["num_test_classes"] == 2
    assert row["pretrained"]["test_classes_seen"] == row["pretrained"]["val_classes_seen"] == 0


def test_the_docs_name_the_scores() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text()
    for name in ("test_balanced_top1", "test_top5", "test_majority_share", "_per_class.csv"):
        assert name in text
