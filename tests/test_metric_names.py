"""One table says what is logged, how it is shown, and by what runs are chosen."""

from __future__ import annotations

import ast
import re

from helpers.paths import ROOT
from ssl_zoo.metric_names import KNN_TOP1, LOSS, MAP_AT_R, METRICS, Metric, objective_of


def test_the_first_objective_that_is_logged_counts() -> None:
    assert objective_of({"val/map_at_r": 0.5, "val/knn_top1": 0.1}) == KNN_TOP1
    assert objective_of(["val/map_at_r", "train/loss"]) == MAP_AT_R
    assert objective_of({"train/loss": 0.5, "val/probe_top1": 0.5}) is None


def test_the_one_that_is_chosen_counts() -> None:
    logged = {"val/knn_top1": 0.5, "train/loss_epoch": 0.1, "mine/nce_error": 1.0}
    ways = {name: objective_of(logged, name) for name in (*logged, "val/map_at_r")}
    assert [(name, way and way.objective) for name, way in ways.items()] == [
        *(("val/knn_top1", "max"), ("train/loss_epoch", "min")),
        *(("mine/nce_error", "min"), ("val/map_at_r", None)),
    ]


def test_better_is_higher_or_lower() -> None:
    assert [KNN_TOP1.improves(0.5, best) for best in (None, 0.4, 0.5, 0.6)] == [
        *(True, True),
        *(False, False),
    ]
    low = Metric("val/x", "x", objective="min")
    assert [low.improves(0.5, best) for best in (None, 0.4, 0.5, 0.6)] == [
        *(True, False),
        *(False, True),
    ]


def test_shares_are_shown_in_per_cent() -> None:
    assert (KNN_TOP1.shown(0.4567), LOSS.shown(0.4567)) == ("45.7%", "0.457")


def test_the_names_stand_in_no_other_file() -> None:
    """A new metric costs one row: whoever logs, draws, reports or chooses reads the table."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    spelled = re.compile(r"(val|train|collapse|speed|lr)/\w*")
    rooms = [*(ROOT / "ssl_zoo/training").glob("*.py"), *(ROOT / "ssl_zoo/callbacks").glob("*.py")]
    rooms += [*(ROOT / "ssl_zoo/figures").glob("*.py"), ROOT / "ssl_zoo/train.py"]
    assert len(rooms) > 20
    for path in rooms:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not spelled.fullmatch(node.value), f"{path} spells {node.value}"
