"""A protocol of one's own is one file and one YAML; what the base asks of every protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.paths import ROOT
from helpers.programs import run_evaluate
from helpers.protocols import protocol, small_candidate
from ssl_zoo.config import options_of
from ssl_zoo.data import Augmentation, DataModule
from ssl_zoo.data.images import Splits, TensorImages
from ssl_zoo.protocols import Candidate, Protocol
from ssl_zoo.protocols.base import FLOORS, check_labels, check_shared_classes
from ssl_zoo.types import UserError

DOCS = (ROOT / "docs" / "evaluation.md").read_text()


def block(language: str) -> str:
    """The example of a protocol in the docs."""
    section = DOCS.split("## A protocol of your own")[1]
    return section.split(f"```{language}\n")[1].split("```")[0]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A protocol that lies beside the project, and what makes the command line see it."""
    (tmp_path / "protocol").mkdir()
    (tmp_path / "protocol" / "spread.yaml").write_text(block("yaml"))
    (tmp_path / "my_spread.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    return [f"hydra.searchpath=[file://{tmp_path}]"]


def test_a_protocol_of_ones_own(
    run: Path, own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_evaluate(f"ckpt={run}", "protocol=spread", *own)
    assert list(result["rows"]) == ["pretrained", "raw pixels"]
    assert result["rows"]["pretrained"]["test_spread"] > 0
    assert {row["num_rows"] for row in result["rows"].values()} == {60}
    assert result["headline"] == "test_spread"
    assert result["protocol"] == {"_target_": "my_spread.Spread", "power": 2.0}
    assert json.loads((run / "evaluation" / "spread.json").read_text()) == result
    printed = capsys.readouterr().out
    assert "num rows" in printed
    assert "shares in %" in printed
    other = run_evaluate(f"ckpt={run}", "protocol=spread", "protocol.spread.power=1", *own)
    assert other["protocol_id"] != result["protocol_id"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["protocol.spread.power=0"], r"power=0: must be above 0$"),
        (["dataset.val_fraction=0.5"], r"^protocol=spread: 150 images of val are too many: lower"),
        (
            ["protocol.spread._target_=builtins.dict"],
            r"^protocol=spread: .* makes a dict, which is not an ssl_zoo\.protocols\.Protocol$",
        ),
    ],
)
def test_what_it_refuses_is_one_line(
    run: Path, own: list[str], overrides: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        run_evaluate(f"ckpt={run}", "protocol=spread", *own, *overrides)


def test_a_protocol_must_have_a_headline_and_a_score() -> None:
    class Nameless(Protocol):
        def score(self, candidate: Candidate) -> dict[str, Any]:
            return {}

    class Scoreless(Protocol):
        headline = "test_x"

    class Least(Nameless):
        headline = "test_x"

    for unfinished in (Nameless, Scoreless):
        with pytest.raises(TypeError, match="abstract"):
            unfinished()  # type: ignore[abstract]
    assert (Least().columns, Least().floors, Least().own_data) == (("test_x",), FLOORS, False)


LISTS = ("all_frozen",)


@pytest.mark.parametrize(
    "name", [o for o in options_of("protocol") if o not in LISTS and "detection" not in o]
)
def test_every_option_is_a_protocol_whose_headline_comes_first(name: str) -> None:
    made = protocol(name)
    assert isinstance(made, Protocol)
    assert made.columns[0] == made.headline
    assert set(made.floors) <= set(FLOORS)


# --- checks of the data ---------------------------------------------------------------------------


def images(count: int, labelled: bool = True) -> TensorImages:
    labels = torch.arange(count) % 2 if labelled else torch.full((count,), -1)
    return TensorImages(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), labels)


def data(test: bool = True, names: tuple[str, ...] = ("a", "b"), **options: Any) -> DataModule:
    labelled = bool(names)
    splits = Splits(images(40, labelled), images(20, labelled) if test else None, list(names))
    return DataModule(splits, Augmentation, num_workers=0, **options)


def test_what_a_head_needs() -> None:
    check_shared_classes(data())
    for bad, said in (
        (data(names=()), "no labels"),
        (data(val_fraction=0.0), "no image is held out for validation: raise dataset.val_fraction"),
        (data(test=False), "no test images"),
    ):
        with pytest.raises(UserError, match=said):
            check_shared_classes(bad)
    check_labels(data(test=False, val_fraction=0.0))
    with pytest.raises(UserError, match="no labels"):
        check_labels(data(names=()))


def test_the_same_images_are_told_apart_from_others() -> None:
    knn, first = protocol("knn"), small_candidate().data
    same, other = (knn.identity(one.data) for one in (small_candidate(), small_candidate()))
    assert json.loads(json.dumps(same)) == same == other == knn.identity(first)
    first.test.labels[0] += 1
    assert knn.identity(first)["labels"][:2] == same["labels"][:2]
    assert knn.identity(first)["labels"][2] != same["labels"][2]
    first.test.images[0] += 1
    assert knn.identity(first)["images"][2] != same["images"][2]
