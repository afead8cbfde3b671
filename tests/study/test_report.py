"""The report of a study: recomputed numbers, and one page that asks nothing of anyone."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from helpers.study_folders import METRIC, edit_yaml, study
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.study.folder import Score, StudyFolder, read_rows, write_rows
from ssl_zoo.study.reading import read_study
from ssl_zoo.study.report import UNFAIR, write
from ssl_zoo.study.results import below_floors, certainty, suites
from ssl_zoo.types import UserError

MARKUP = "<img src=x onerror=alert(1)>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A study with a method that is named like a picture, and a trial that failed."""
    place = tmp_path_factory.mktemp("study") / "a<b>c"
    methods = {"simclr": 0.65, MARKUP: 0.6, "byol": 0.4}
    folder = study(place, methods=methods, trials=2, failing=[("byol", 0)]).folder
    assert write(folder) == 0
    return folder


def test_the_page_asks_nothing_of_anyone(written: StudyFolder) -> None:
    text = (written.path / "report.html").read_text()
    page = Page(text)
    asking = {"src", "href", "srcset", "data", "action", "poster", "background"}
    for name, value in page.attributes:
        assert name not in asking or value.startswith("data:"), (name, value[:80])
        assert not name.startswith("on")
    elsewhere = {"script", "iframe", "object", "embed", "base", "form", "video", "audio"}
    assert not elsewhere & page.tags.keys()
    styles = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]
    assert "default-src 'none'" in text


def test_names_with_markup_are_text(written: StudyFolder) -> None:
    page = Page((written.path / "report.html").read_text())
    figures = sorted(path.name for path in (written.path / "figures").iterdir())
    assert figures == ["best_of_k.png", "learning.png", "scores_1.png", "trials.png"]
    assert page.tags["img"] == len(figures)  # and none by a name
    assert page.tags["b"] == 0
    assert MARKUP in page.text
    assert "a<b>c/finals/simclr/seed101" in page.text  # in the command that takes it out
    markdown = (written.path / "report.md").read_text()
    assert "<img" not in markdown
    assert "&lt;img src=x onerror=alert(1)&gt;" in markdown


def test_all_of_it_is_there(written: StudyFolder) -> None:
    page = Page((written.path / "report.html").read_text())
    assert page.tags["table"] == 8
    for line in (
        "simclr is better than each other method by knn",
        "random init",
        "raw pixels",
        "supervised, all labels",
        "optimizer.base_lr: tag(log,interval(1e-4,1e-2))",
        "ssl-zoo export",
        "--format safetensors simclr.safetensors",
        "nan",
        "G12",
        "python -m ssl_zoo.study run study=test",
    ):
        assert line in page.text, line
    assert UNFAIR not in page.text
    assert "Every run (20)" in page.text


def test_its_numbers_are_those_of_the_runs(written: StudyFolder) -> None:
    with (written.path / "summary.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    scores = {
        method: [s.value for s in read_rows(written.results, Score) if s.method == method][:3]
        for method in ("simclr", MARKUP)
    }
    own = rows["simclr"]
    low, high = stats.t.interval(0.95, 2, np.mean(scores["simclr"]), stats.sem(scores["simclr"]))
    expected = [np.mean(scores["simclr"]), low, high, np.std(scores["simclr"], ddof=1)]
    assert [float(own[k]) for k in ("mean", "low", "high", "s")] == pytest.approx(expected)
    assert own["n"] == "3"
    assert rows["random init"]["kind"] == "floor"
    found = json.loads((written.path / "report.json").read_text())
    pair = next(d for d in found["differences"] if d["second"] == MARKUP)
    test = stats.ttest_rel(scores["simclr"], scores[MARKUP])
    assert pair["p"] == pytest.approx(test.pvalue)
    assert found["spent"]["byol"]["failures"] == 1
    assert found["is_fair"]


def test_a_failure_is_on_top_and_the_exit_code(tmp_path: Path) -> None:
    given = {"metric": METRIC.replace("val", "test")}
    folder = study(tmp_path / "study", "plan", settings=given).folder
    assert write(folder) == 2
    lines = (folder.path / "report.md").read_text().splitlines()
    assert lines[2] == f"**{UNFAIR}**"
    assert lines[4].startswith("- G12: metric=test/knn\\_top1 is not of val")
    text = (folder.path / "report.html").read_text()
    assert 0 < text.index(UNFAIR) < text.index("<h1>")


@pytest.mark.slow
def test_scores_are_read_from_the_evaluations(tmp_path: Path) -> None:
    """Not from results.csv, which is only checked."""
    folder = study(tmp_path / "study", seeds=2, trials=2).folder
    rows = read_rows(folder.results, Score)
    write_rows(folder.results, [Score(**{**vars(rows[0]), "value": 0.99}), *rows[1:]], Score)
    assert write(folder) == 2
    found = json.loads((folder.path / "report.json").read_text())
    mean = next(row["mean"] for row in found["summary"] if row["name"] == "simclr")
    assert mean == pytest.approx((rows[0].value + rows[1].value) / 2)


@pytest.mark.slow
def test_how_sure_the_winner_is(tmp_path: Path) -> None:
    """A lead that seeds confirm may be smaller than what other test images would change."""
    near = {"a": 0.62, "b": 0.6, "lazy": 0.25}
    folder = study(tmp_path / "near", methods=near, noise=1e-4, trials=2, seeds=4).folder
    (suite,) = suites(read_study(folder))
    said = certainty(suite)
    assert said.startswith("a is better than each other method by knn (62.00%)")
    assert "is below the error of a test set of this size" in said
    assert (
        below_floors(suite)
        == "By knn no better than random init: lazy; no better than raw pixels: lazy."
    )
    far = {"a": 0.8, "b": 0.6}
    folder = study(tmp_path / "far", methods=far, trials=2, seeds=4).folder
    (suite,) = suites(read_study(folder))
    assert "below the error" not in certainty(suite)
    assert below_floors(suite) == ""


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "few"), [(2, True), (4, False)])
def test_undecided_by_too_few_seeds_says_so(seeds: int, few: bool, tmp_path: Path) -> None:
    close = {"a": 0.62, "b": 0.62}
    folder = study(tmp_path / "s", methods=close, noise=0.02, trials=2, seeds=seeds).folder
    (suite,) = suites(read_study(folder))
    said = certainty(suite)
    assert said.startswith("Undecided: ")
    assert ("With so few seeds in common (2) even large gaps" in said) == few


@pytest.mark.slow
def test_a_waived_guard_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study(tmp_path / "study", seeds=2, trials=2, settings={"waive": ["g2"]}).folder
    (folder.path / "finals/moco/seed102/checkpoints/last.ckpt").write_text("other")
    assert write(folder) == 0
    text = (folder.path / "report.md").read_text()
    assert "Waived, G2: finals/moco/seed102: its last.ckpt" in text
    assert UNFAIR not in capsys.readouterr().out
    edit_yaml(folder.settings, lambda content: content.update(waive=[]))
    assert write(folder) == 2
    assert UNFAIR in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("until", "line"),
    [
        ("plan", "UNFINISHED: 0 of 4 runs of the search are done; no selection is sealed"),
        ("search", "UNFINISHED: no selection is sealed"),
        ("seal", "UNFINISHED: 0 of 4 final runs are done"),
        ("train_finals", "UNFINISHED: 0 of 4 final seeds have a score by knn"),
    ],
)
def test_a_study_that_is_half_done(tmp_path: Path, until: str, line: str) -> None:
    folder = study(tmp_path / "study", until, seeds=2, trials=2).folder
    assert write(folder) == 0
    assert line in (folder.path / "report.md").read_text()
    assert write(folder) == 0  # over itself


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds(tmp_path: Path, seeds: int) -> None:
    folder = study(tmp_path / "study", seeds=seeds, trials=2).folder
    assert write(folder) == 0
    text = (folder.path / "report.md").read_text()
    assert ("nothing can be said about how sure that is" in text) == (seeds == 1)


@pytest.mark.slow
def test_other_samplers_have_no_expected_best(tmp_path: Path) -> None:
    folder = study(tmp_path / "study", "search", trials=2, settings={"sampler": "tpe"}).folder
    assert write(folder) == 0
    assert "sampler=tpe learns from earlier trials" in (folder.path / "report.md").read_text()


@pytest.mark.slow
def test_folds_are_averaged(tmp_path: Path) -> None:
    folder = study(tmp_path / "study", folds=2, seeds=2, trials=2).folder
    write(folder)
    found = json.loads((folder.path / "report.json").read_text())
    assert {row["n"] for row in found["summary"] if row["kind"] == "method"} == {2}


@pytest.mark.slow
def test_runs_that_left_less(tmp_path: Path) -> None:
    """A run without metrics, one without a folder, and an evaluation that is cut short."""
    folder = study(tmp_path / "study", seeds=2, trials=2).folder
    RunFolder(folder.path / "trials/simclr/0").metrics.unlink()
    shutil.rmtree(folder.path / "trials/moco/1")
    (folder.path / "finals/moco/seed101/evaluation/knn.json").write_text('{"rows": {"pre')
    assert write(folder) == 2
    text = (folder.path / "report.md").read_text()
    assert "trials/moco/1 is finished in the table, and has no result.json" in text
    assert "no JSON below finals/moco/seed101/evaluation/knn.json has its id" in text


@pytest.mark.parametrize("file", ["study.yaml", "selection.json", "trials.csv", "ledger.jsonl"])
def test_a_broken_file_is_one_line(tmp_path: Path, file: str) -> None:
    folder = study(tmp_path / "study", "plan").folder
    if file == "study.yaml":
        folder.settings.unlink()
    else:
        (folder.path / file).write_text("{broken\n{}\n")
    with pytest.raises(UserError, match=re.escape(file)) as error:
        write(folder)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser: chromium cannot be installed here")
@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser(tmp_path: Path, width: int) -> None:
    """No message in the console, all pictures drawn, and nothing is wider than the window."""
    methods = {"simclr": 0.65, MARKUP: 0.6, "a_method_with_a_very_long_name_indeed_" * 3: 0.4}
    folder = study(tmp_path / "study", methods=methods, trials=2).folder
    write(folder)
    page = folder.path / "report.html"
    looked = browse(page, tmp_path, width, "--enable-logging=stderr", "--screenshot=shot.png")
    assert "CONSOLE" not in looked.stderr
    assert (tmp_path / "shot.png").stat().st_size > 10_000
    # measured from outside, since the page runs no script; a window is never as narrow as a frame
    script = (
        "<script>const f = document.querySelector('iframe'); f.onload = () => {"
        "const d = f.contentDocument, i = [...d.images]; document.title = JSON.stringify({"
        "wide: d.documentElement.scrollWidth, drawn: i.filter(x => x.naturalWidth > 100).length,"
        "tables: d.querySelectorAll('table').length})}</script>"
    )
    frame = f'<iframe width="{width}" height="30000" srcdoc="{escape(page.read_text())}"></iframe>'
    outside = tmp_path / "outside.html"
    outside.write_text(f"<!DOCTYPE html><title></title>{frame}{script}")
    dom = browse(outside, tmp_path, 1600, "--dump-dom").stdout
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    assert json.loads(title.group(1)) == {"wide": width, "drawn": 4, "tables": 8}


def browse(page: Path, place: Path, width: int, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={place / 'profile'}", f"--window-size={width},900", *flags]
    return subprocess.run(
        [*command, page.as_uri()],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
