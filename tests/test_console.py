"""Lines on a console: durations, lines in the middle of others, and where messages go."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console
from rich.file_proxy import FileProxy

from ssl_zoo.config.log_handler import StderrHandler
from ssl_zoo.console import duration, interject, print_table


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.0123, "0.012 s"),
        (9.96, "10 s"),
        (75, "75 s"),
        (100, "2 min"),
        (3590, "1 h 0 min"),
        (12_000, "3 h 20 min"),
        (190_800, "2 days 5 h"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


class Screen(io.StringIO):
    """A terminal's output."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("kind", "shown"), [(io.StringIO, "now\n"), (Screen, "\nnow\n")], ids=["a file", "a screen"]
)
def test_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, kind: type[io.StringIO], shown: str
) -> None:
    out = kind()
    monkeypatch.setattr("sys.stdout", out)
    interject("now")
    assert out.getvalue() == shown


def test_above_a_bar_it_needs_no_empty_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stdout", FileProxy(Console(file=screen, width=80), screen))
    interject("now")
    assert screen.getvalue() == "now\n"


def test_messages_go_to_what_stderr_is_then(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = StderrHandler()
    record = logging.LogRecord("x", logging.INFO, "x", 1, "hello", None, None)
    for _ in range(2):
        err = io.StringIO()
        monkeypatch.setattr("sys.stderr", err)
        handler.emit(record)
        assert err.getvalue() == "hello\n"


def test_a_table_shows_texts_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Rich would take them for styles and emojis, or refuse them."""
    texts = ["[default]", "[red]x[/red]", "[/red]", ":smile:"]
    print_table("[b]", ["[a,b]", "value"], [[text, text] for text in texts])
    printed = capsys.readouterr().out
    assert [printed.count(text) for text in ["[b]", "[a,b]", ":smile:"]] == [1, 1, 2]
    assert [printed.count(text) for text in texts] == [2, 2, 4, 2]
