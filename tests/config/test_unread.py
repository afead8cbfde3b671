"""A knob that was set and that nothing reads is an error."""

from __future__ import annotations

import pytest

from helpers.configs import Make, node
from ssl_zoo.config import TRAIN_ROOTS, check_overrides, overridden_keys, unread_overrides
from ssl_zoo.types import UserError

KNOBS = """
width: 3
root: data
name: x
part:
  plain: 1
  selected: 2
  scaled: 4
  inside: 6
  listed: 7
  relative: 8
  node: {left: 1, right: 2}
  unread: 9
  module:
    a: ${part.plain}
    b: ${oc.select:part.selected,0}
    c: ${scaled_lr:${part.scaled},none,${width}}
    d: ${product:2,${product:3,${part.inside}}}
    e: [0, {f: "${part.listed}"}]
    g: ${..relative}
    h: ${part.node}
"""

ROOTS = ["part.module", "width"]


@pytest.mark.parametrize(
    "key",
    [
        "width",
        "part.plain",
        "part.selected",
        "part.scaled",
        "part.inside",
        "part.listed",
        "part.relative",
        "part.node",
        "part.node.left",
        "part.module.a",
    ],
)
def test_a_knob_that_is_read(key: str) -> None:
    assert unread_overrides(node(KNOBS), [key], ROOTS) == []


def test_a_knob_that_nothing_reads_is_named() -> None:
    config = node(KNOBS)
    assert unread_overrides(config, ["part.plain", "part.unread"], ROOTS) == ["part.unread"]
    with pytest.raises(UserError, match=r"^part\.unread was set, but no chosen part reads it"):
        check_overrides(config, ["part.plain=2", "part.unread=3"], [], ROOTS)


def test_a_knob_that_only_an_unread_knob_reads() -> None:
    config = node("g: {a: 1, b: '${g.a}', module: {c: 2}}")
    assert unread_overrides(config, ["g.a", "g.b"], ["g.module"]) == ["g.a", "g.b"]


def test_what_is_no_knob_is_not_checked() -> None:
    overrides = ["part=other", "method/loss=x", "a@b=c", "~part.unread", "+part.new=1", "word"]
    assert overridden_keys(overrides) == ["part", "part.new"]
    config = node("part: {unread: 1, module: {}}")
    check_overrides(config, ["part=other", "part/slot=x"], ["part", "part/slot"], ROOTS)


def test_knobs_of_the_real_config(make_config: Make) -> None:
    config = make_config("method/projector=none")
    assert unread_overrides(config, ["method.hidden_dim"], TRAIN_ROOTS) == ["method.hidden_dim"]
    config = make_config("callbacks=none", "+foo=1", "+dataset.foo=1")
    unread = ["monitor.k", "foo", "dataset.foo"]
    assert unread_overrides(config, unread, TRAIN_ROOTS) == unread
    config = make_config()
    read = ["method.hidden_dim", "method.temperature", "monitor.k", "optimizer.base_lr", "epochs"]
    assert unread_overrides(config, read, TRAIN_ROOTS) == []
