"""A sweep's folder as a source: each run as if it were alone, and a line for each setting."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from torch import nn

import ssl_zoo
from helpers.configs import TINY
from helpers.paths import ROOT
from helpers.programs import run_evaluate, run_protocols, train_on_folder
from helpers.trees import make_colours
from ssl_zoo.backbones import ConvNet
from ssl_zoo.protocols.runner.settings import tell_repeated
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.table import print_runs
from ssl_zoo.types import UserError

KNN = ["protocol.knn.ks=[5,20]"]
TEMPERATURES = ("0.1", "0.2")


def entered(trained: Path, folder: Path, overrides: list[str], noise: int) -> Path:
    """A finished run with these overrides, whose weights are its own."""
    shutil.copytree(trained, folder)
    run = RunFolder(folder)
    run.write_result(run.read_result() | {"overrides": overrides, "status": "finished"})
    content = torch.load(run.last, weights_only=True)
    generator = torch.Generator().manual_seed(noise)
    for name, value in content["state_dict"].items():
        if name.startswith("encoder.backbone.") and value.ndim == 4:
            value.add_(0.3 * value.std() * torch.randn(value.shape, generator=generator))
    torch.save(content, run.last)
    return folder


@pytest.fixture
def sweep(trained: Path, tmp_path: Path) -> Path:
    """Two temperatures, two seeds each; and runs that failed, were killed, have no weights."""
    folder = tmp_path / "grid"
    folder.mkdir()
    (folder / "multirun.yaml").touch()
    settings = [(t, s) for t in TEMPERATURES for s in "01"]
    for i, (temperature, seed) in enumerate(settings):
        overrides = [f"method.temperature={temperature}", f"seed={seed}"]
        entered(trained, folder / str(i), overrides, noise=i)
    bare = {"seed": 0, "name": "x", "seconds": 1.0, "metrics": {}, "overrides": []}
    for i, status in ((4, "failed"), (5, "running"), (6, "finished")):
        (folder / str(i)).mkdir()
        RunFolder(folder / str(i)).write_result({"status": status, **bare})
    return folder


@pytest.fixture
def images_seen() -> Iterator[list[int]]:
    seen: list[int] = []

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, ConvNet):
            seen.append(len(args[0]))

    handle = nn.modules.module.register_module_forward_hook(note)
    yield seen
    handle.remove()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_finished_run_and_a_line_for_each_setting(
    sweep: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    images_seen: list[int],
) -> None:
    result = run_evaluate(f"ckpt={sweep}", *KNN)
    assert sum(images_seen) == (4 + 1) * 360  # random weights are encoded once
    said = f"left out of {sweep}: 4 is failed, 5 is interrupted, 6 is without a checkpoint"
    assert said in caplog.text
    assert list(result["rows"]) == ["0", "1", "2", "3", "random init", "raw pixels"]
    assert json.loads((sweep / "evaluation" / "knn.json").read_text()) == result
    top1 = [result["rows"][str(i)]["test_top1"] for i in range(4)]
    assert len(set(top1)) > 1
    for line, temperature, pair in zip(
        result["settings"], TEMPERATURES, (top1[:2], top1[2:]), strict=True
    ):
        assert line["settings"] == {"method.temperature": temperature}
        assert line["n"] == 2
        low, high = line["scores"]["test_top1"].pop("interval")
        assert (low + high) / 2 == pytest.approx(fmean(pair))
        assert high - low == pytest.approx(2 * 12.7062 * stdev(pair) / 2**0.5)  # t of 1 degree
        assert line["scores"]["test_top1"] == {"mean": fmean(pair), "s": stdev(pair)}
    table = rows_of(sweep / "evaluation" / "knn.csv")
    assert [row["runs"] for row in table] == ["0 1", "2 3"]
    assert [row["method.temperature"] for row in table] == list(TEMPERATURES)
    assert float(table[0]["test_top1"]) == fmean(top1[:2])
    assert float(table[0]["test_top1_s"]) == stdev(top1[:2])
    assert float(table[0]["test_top1_low"]) < fmean(top1[:2]) < float(table[0]["test_top1_high"])
    shown = capsys.readouterr().out
    assert f"{100 * fmean(top1[:2]):.1f} ± {100 * stdev(top1[:2]):.1f}" in shown
    assert "random init" in shown
    # each run as if it were alone
    for i in (0, 3):
        there = json.loads((sweep / str(i) / "evaluation" / "knn.json").read_text())
        assert run_evaluate(f"ckpt={sweep / str(i)}", *KNN) == there
    capsys.readouterr()
    print_runs([sweep])
    shown = capsys.readouterr().out
    assert shown.count("│ raw pixels ") == shown.count("│ random init ") == 1
    assert f"{100 * fmean(top1[:2]):.1f} ± {100 * stdev(top1[:2]):.1f}" in shown


def test_a_seed_again_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of one setting only: the same seed at another temperature is no repetition."""
    typed = [("0.1", 0), ("0.1", 1), ("0.5", 1), ("1e-1", 1), ("0.10", 1), ("0.5", 2)]
    runs = {}
    for i, (temperature, seed) in enumerate(typed):
        run = runs[f"grid/{i}"] = RunFolder(tmp_path / str(i))
        run.path.mkdir()
        overrides = [f"method.temperature={temperature}", f"seed={seed}", f"name=run{i}"]
        run.write_result({"status": "finished", "overrides": overrides})
    with caplog.at_level("WARNING", "ssl_zoo"):
        tell_repeated(runs)
    assert caplog.messages == [
        "warning: runs with the same settings and seed: grid/3 repeats grid/1, grid/4 repeats "
        "grid/1; mean, s and n count each of them: remove one, or give it another seed"
    ]


@pytest.mark.slow
def test_a_folder_of_runs_in_a_sweep_is_left_out(
    sweep: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(1, 4):
        shutil.rmtree(sweep / str(i))
    entered(trained, sweep / "later" / "0", ["seed=5"], noise=8)
    with caplog.at_level("WARNING", "ssl_zoo"):
        result = run_evaluate(f"ckpt={sweep}", *KNN, "baselines=false")
    assert list(result["rows"]) == ["0"]
    assert "6 is without a checkpoint, later is a folder of runs" in caplog.text
    assert "settings and seed" not in caplog.text
    entered(trained, sweep / "9", ["method.temperature=0.1", "seed=0"], noise=9)
    caplog.clear()
    run_protocols(f"ckpt={sweep}", "protocol=[knn,embed]", *KNN, "baselines=false")
    assert caplog.text.count("same settings and seed: 9 repeats 0") == 1  # not for each protocol


@pytest.mark.slow
def test_sweeps_of_one_name_keep_their_runs_apart(sweep: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(sweep, tmp_path / "b" / "grid"))
    result = run_evaluate(f"ckpt=[{sweep},{other}]", *KNN, "baselines=false")
    assert not (sweep / "evaluation" / "knn.json").exists()  # that of this sweep alone
    assert json.loads((sweep / "evaluation" / "knn_grid_grid.json").read_text()) == result
    assert list(result["rows"]) == [f"{folder}/{i}" for folder in (sweep, other) for i in range(4)]
    for again in (sweep, sweep / "2", sweep / "2" / "..", sweep / "." / "3"):
        with pytest.raises(UserError, match=r"^ckpt names .* twice: name each run once$"):
            run_evaluate(f"ckpt=[{sweep},{again}]", *KNN)


@pytest.mark.slow
def test_what_the_majority_scores_is_said_of_a_sweep_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = (
        {"train/ant": "r" * 24, "train/bee": "g" * 24},
        {"test/ant": "rrr", "test/bee": "g"},
    )
    root = make_colours(tmp_path / "data", {**train, **test})
    for seed in (0, 1):
        train_on_folder(root, tmp_path / "grid" / str(seed))
    capsys.readouterr()
    run_evaluate(f"ckpt={tmp_path / 'grid'}", *KNN, "baselines=false")
    assert capsys.readouterr().out.count("3 of test's 4 images are ant: always answering") == 1


@pytest.mark.slow
def test_several_protocols_and_a_folder_of_their_own(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = run_protocols(
        f"ckpt={sweep}", "protocol=[knn,embed]", *KNN, "baselines=false", f"out={out}"
    )
    assert {path.name for path in out.glob("*.json")} == {"knn.json", "embed.json"}
    assert all((out / str(i) / "features.npz").is_file() for i in range(4))
    assert results["embed"]["settings"][0]["scores"]["num_features"] == {
        "mean": 16,
        "s": 0.0,
        "interval": [16.0, 16.0],
    }
    assert not (sweep / "evaluation").exists()


def test_a_list_of_runs_says_their_settings(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, overrides in enumerate((["seed=0"], ["seed=1"], ["method.temperature=0.5"])):
        run = RunFolder(sweep / str(i))
        typed = [*overrides, f"run_dir=runs/{i}", f"name=run{i}"]
        typed += ["method=simclr", "dataset=shapes", "epochs=1"] if i == 1 else []
        run.write_result(run.read_result() | {"overrides": typed})
        config = run.config.read_text().replace("seed: 0", f"seed: {i}")
        value = 0.5 if i == 2 else 0.1
        assert "\n  temperature: 0.1" in config
        run.config.write_text(config.replace("\n  temperature: 0.1", f"\n  temperature: {value}"))
    ckpts = ",".join(str(sweep / str(i)) for i in range(3))
    result = run_evaluate(f"ckpt=[{ckpts}]", *KNN, "baselines=false", f"out={tmp_path / 'out'}")
    assert list(result["rows"]) == ["0", "1", "2", "separated (mean of 3)", "concatenated"]
    lines = [(line["settings"], line["runs"]) for line in result["settings"]]
    assert lines == [
        ({"method.temperature": "0.1"}, ["0", "1"]),  # of which neither was given it
        ({"method.temperature": "0.5"}, ["2"]),
    ]
    assert "n" in capsys.readouterr().out
    assert (tmp_path / "out" / "knn.csv").is_file()


@pytest.mark.slow
def test_a_sweep_beside_other_sources(sweep: Path, trained: Path, tmp_path: Path) -> None:
    """Also runs that one put together, without Hydra's mark."""
    (sweep / "multirun.yaml").unlink()
    shutil.rmtree(sweep / "1")
    (sweep / "2" / "checkpoints" / "last.ckpt").write_bytes(b"broken")
    other = Path(shutil.copytree(trained, tmp_path / "other"))
    result = run_evaluate(f"ckpt=[{sweep},{other}]", *KNN, "baselines=false")
    assert list(result["rows"]) == ["grid/0", "grid/3", str(other)]
    alone = run_evaluate(f"ckpt={other}", *KNN, "baselines=false")["rows"]["pretrained"]
    assert result["rows"][str(other)] == alone


@pytest.mark.slow
def test_scores_of_other_data_stand_apart(sweep: Path) -> None:
    """A setting whose own data differ gets no mean with another's."""
    last = sweep / "1" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    for node in ("dataset", "data"):
        content["ssl_zoo"]["config"][node]["val_fraction"] = 0.5
    torch.save(content, last)
    result = run_evaluate(f"ckpt={sweep}", *KNN, "baselines=false")
    assert [line["runs"] for line in result["settings"]] == [["0"], ["1"], ["2", "3"]]
    assert len({line["protocol_id"] for line in result["settings"]}) == 2
    assert [line["scores"]["test_top1"]["s"] is None for line in result["settings"][:2]] == [
        True
    ] * 2


def test_what_cannot_be_evaluated_is_one_line(sweep: Path) -> None:
    with pytest.raises(UserError, match=r"k=7: must be among ks"):
        run_evaluate(f"ckpt={sweep}", "protocol.knn.k=7")
    with pytest.raises(UserError, match=r"^ckpt_heads=6: .*needs no hint: remove it$"):
        run_evaluate(f"ckpt={sweep}", "ckpt_heads=6")
    for i in range(4):
        RunFolder(sweep / str(i)).result.unlink()
    said = r"grid holds 3 runs, 0 of them finished: 4 is failed, 5 is interrupted, 6 is without"
    with pytest.raises(UserError, match=said):
        run_evaluate(f"ckpt={sweep}")
    said = rf"^{sweep} is a sweep's folder: give one of its runs, such as {sweep}/0$"
    with pytest.raises(UserError, match=said):
        ssl_zoo.load_backbone(sweep)


@pytest.mark.slow
def test_a_multirun(tmp_path: Path) -> None:
    jobs = ["seed=0,1", "method.temperature=0.1,0.5", "sweep=real", "callbacks=none"]
    for program, args in (("train", ["-m", *TINY, *jobs]), ("evaluate", ["ckpt=runs/real"])):
        subprocess.run(
            [sys.executable, str(ROOT / f"{program}.py"), *args], cwd=tmp_path, check=True
        )
    table = rows_of(tmp_path / "runs" / "real" / "evaluation" / "knn.csv")
    assert [(row["method.temperature"], row["n"]) for row in table] == [("0.1", "2"), ("0.5", "2")]
