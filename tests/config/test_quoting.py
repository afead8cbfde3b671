"""Texts that Hydra or a shell would read otherwise arrive as they were typed."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ssl_zoo.config.quoting import override, plain_texts, typed
from ssl_zoo.types import UserError

TEXTS = [
    *("runs/x/epoch=9-step=1.ckpt", "/data/a(b)", "/data/it's", "/data/#1", "/data/été", "/a b"),
    *("a\\'b", "ends in \\", "C:\\x\\é", "123", "true", "null", " x ", "/data/a,b", "[x]", "a:b"),
    *("~/x", "50%", "a&b", "x;y", "$HOME/é", "!x", '"x"'),
]


def read(text: str) -> object:
    return OverridesParser.create().parse_overrides([text])[0].value()


@pytest.mark.parametrize("text", TEXTS)
def test_hydra_reads_the_very_text(text: str) -> None:
    assert read(override("key", text)) == text
    assert override("key", "plain/text-1.0") == "key=plain/text-1.0"


@pytest.mark.parametrize("text", TEXTS)
def test_so_it_does_when_pasted_into_a_shell(text: str) -> None:
    assert shlex.split(typed("key", text)) == [override("key", text)]


@pytest.mark.parametrize("text", ["runs/x/epoch=9-step=1.ckpt", "/a(b)", "/it's", "/#1", "/été"])
def test_a_command_line_may_leave_the_quotes_out(text: str) -> None:
    assert [read(arg) for arg in plain_texts([f"ckpt={text}"])] == [text]


@pytest.mark.parametrize(
    "arg",
    ["seed=0,1", "k=[1,2]", "k={a: 1}", "k='a b'", "x=glob(*)", "-m", "~logger", "k=$x", "k=1"],
)
def test_what_hydra_reads_stays(arg: str) -> None:
    assert plain_texts([arg]) == [arg]


def test_null_as_the_agent_of_wandb_writes_it() -> None:
    assert plain_texts(["init=None", "+dataset.mean=None"]) == ["init=null", "+dataset.mean=null"]


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ([0.08, None], ["k=[0.08,null]"]),
        (["a b", None, True], ["k=['a b',null,true]"]),
        ([1, [0, None]], ["k=[1,[0,null]]"]),
        ([0.1, 1.0], ["k=[0.1, 1.0]"]),  # which Hydra reads
        ([{"blur": 1.0, "x": None}], ["k=[{blur:1.0,x:null}]"]),
        ({"a": 1e-05, "b": {"c": None, "d": "e f"}}, ["k.a=1e-05", "k.b.c=null", "k.b.d='e f'"]),
        ({"a": [1, True], "b": {}}, ["k.a=[1,true]", "k.b={}"]),
        ({}, ["k={}"]),
        ("two words", ["k=two words"]),
        (True, ["k=True"]),
    ],
)
def test_values_as_the_agent_of_wandb_writes_them(value: object, texts: list[str]) -> None:
    assert plain_texts([f"k={value}"]) == texts
    if not isinstance(value, dict) or not value:
        assert read(texts[0]) == value


def test_a_comma_of_an_agent_is_of_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts one run; elsewhere -m may have been forgotten."""
    assert plain_texts(["notes=a, b"]) == ["notes=a, b"]
    monkeypatch.setenv("WANDB_SWEEP_ID", "x")
    assert plain_texts(["notes=a, b", "k={a} of (b)"]) == ["notes='a, b'", "k='{a} of (b)'"]
    assert plain_texts(["-m", "seed=0,1"]) == ["-m", "seed=0,1"]


@pytest.mark.parametrize(
    ("arg", "line"),
    [
        ("root=/a,b=c", "^root=/a,b=c cannot be read: if it is one text, give \"root='/a,b=c'\"$"),
        ("k=[1,2", r"^k=\[1,2 cannot be read"),
        ("=3", "^=3 is not KEY=VALUE: its key is missing$"),
    ],
)
def test_what_may_mean_two_things_is_refused(arg: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        plain_texts([arg])


@pytest.mark.parametrize(
    "value", ["interval(0.2)", "loguniform(1e-4,1e-1)", "interval(1e-4,1e-1,log=True)", "range()"]
)
def test_a_range_that_cannot_be_read_is_told_how_ranges_are_typed(value: str) -> None:
    ways = r"lr=tag\(log,interval\(1e-4,1e-1\)\).* or lr=choice\(a,b\); if it is one text"
    with pytest.raises(UserError, match=ways):
        plain_texts([f"lr={value}"])
    with pytest.raises(UserError, match="cannot be read: if it is one text"):
        plain_texts(["lr=[1,"])
