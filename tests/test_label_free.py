"""benchmarks/label_free.py: its points, and its correlations."""

from __future__ import annotations

import csv
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from helpers.paths import ROOT
from ssl_zoo.run_folder import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def label_free() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench", ROOT / "benchmarks" / "label_free.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_correlations_of_planted_points(label_free: ModuleType) -> None:
    """sigreg falls as kNN rises, the rank says nothing in order, one LiDAR is NaN once."""
    knn = [0.1, 0.2, 0.3, 0.4, 0.5]
    rank = [3.0, 1.0, 2.0, 5.0, 4.0]
    nan = float("nan")
    points = []
    for i, (k, r) in enumerate(zip(knn, rank, strict=True)):
        figures = (9 - k, r, 10 * k, nan if i == 2 else 1.0)
        point = label_free.Point(f"run{i // 2}", "last.ckpt", i, "SimCLR", "d", k, *figures)
        points.append(point)
    lines = {line.figure: line for line in label_free.correlations(points)}
    assert (lines["sigreg"].rho, lines["lidar_z"].rho) == (pytest.approx(-1), pytest.approx(1))
    # 1 - 6 * sum of squared differences of ranks / (n (n^2 - 1)), differences -2 1 1 -1 1
    assert lines["effective_rank"].rho == pytest.approx(1 - 6 * 8 / (5 * 24))
    assert (lines["sigreg"].n, lines["sigreg"].runs) == (5, 3)
    assert lines["lidar_h"].n == 4
    assert lines["lidar_h"].rho != lines["lidar_h"].rho  # of a constant there is none


def test_data_sets_are_not_mixed(label_free: ModuleType) -> None:
    def point(data: str, step: int, file: str, method: str) -> object:
        return label_free.Point("run", file, step, method, data, 0.1 * step, 1.0, 1.0, 1.0, 1.0)

    points = [point("a", i, f"epoch_{i}.ckpt", "SimCLR") for i in range(3)]
    points += [point("b", i, "last.ckpt", "SimCLR" if i else "BYOL") for i in range(4)]
    sizes = {name: len(several) for name, several in label_free.groups(points).items()}
    assert sizes == {
        "data set 1, all checkpoints": 3,
        "data set 1, SimCLR": 3,
        "data set 2, all checkpoints": 4,
        "data set 2, last checkpoints": 4,
        "data set 2, SimCLR": 3,
    }


def test_a_folder_of_runs(
    label_free: ModuleType,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """kNN and sigreg are as the monitors logged; last and best of one step are one point."""
    for name in ("broken", "one", "sweep/two"):
        shutil.copytree(trained, tmp_path / name)
    for file in (tmp_path / "broken" / "checkpoints").iterdir():
        file.write_bytes(b"")
    out = tmp_path / "figures.csv"
    files = ["--csv", str(out), "--figure", str(tmp_path / "figures.png")]
    label_free.main([str(tmp_path), "--images", "40", "--views", "2", *files])
    assert (tmp_path / "figures.png").stat().st_size > 5_000
    rows = list(csv.DictReader(out.open()))
    assert [row["run"] for row in rows] == ["one", "sweep/two"]
    assert {row["checkpoint"] for row in rows} == {"last.ckpt"}
    curves = RunFolder(trained).read_metrics()
    assert float(rows[0]["knn"]) == pytest.approx(curves["val/knn_top1"][-1][1], abs=1e-6)
    assert float(rows[0]["sigreg"]) == pytest.approx(curves["collapse/sigreg"][-1][1], rel=1e-4)
    assert float(rows[0]["lidar_z"]) > 1
    assert rows[0]["method"] == "SimCLR"
    shown = capsys.readouterr()
    assert "two last.ckpt" in shown.out
    assert "broken/checkpoints/last.ckpt" in caplog.text
    assert "no correlation: it takes three checkpoints" in shown.out


def test_a_folder_without_runs_says_so(label_free: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no checkpoint"):
        label_free.main([str(tmp_path)])


@pytest.mark.parametrize("given", [["--images", "0"], ["--views", "1"], ["--csv", "none/x.csv"]])
def test_what_cannot_be_is_refused_at_once(
    label_free: ModuleType, tmp_path: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        label_free.main([str(tmp_path), *given])
    assert given[1] in capsys.readouterr().err
