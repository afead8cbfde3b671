"""An error of a part names the knob that feeds its argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from helpers.configs import Make, node
from helpers.picky import Part
from ssl_zoo.config import ErrorAt, instantiate, naming_knobs, to_plain
from ssl_zoo.types import BadValue, UserError


def said(
    cfg: DictConfig | dict[str, Any], use: Callable[[], Any], overrides: Iterable[str] = ()
) -> str:
    """The one line that a config's user reads."""
    with pytest.raises(UserError) as caught, naming_knobs(cfg, overrides):
        use()
    return str(caught.value)


def built(text: str, *overrides: str) -> str:
    """What is said when `module` of a config is built."""
    cfg = node(text)
    return said(cfg, lambda: instantiate(cfg.module), overrides)


PART = "_target_: helpers.picky.Part"


def test_a_value_that_stands_at_the_part() -> None:
    assert built(f"module: {{{PART}, momentum: -1}}") == "module.momentum=-1: must be at least 0"


@pytest.mark.parametrize(
    ("momentum", "knob"),
    [
        ("'${method.momentum}'", "method.momentum"),
        ("'${oc.select:method.momentum,-1}'", "method.momentum"),
        ("'${oc.select:method.final_momentum,-1}'", "module.momentum"),
        ("'${oc.select:nowhere.momentum,-1}'", "module.momentum"),
        ("'${.own}'", "module.own"),
        ("'${..top}'", "top"),
        ("'${twice}'", "method.momentum"),
        ("'${node.momentum}'", "method.momentum"),
        ("'${product:-1,1}'", "module.momentum"),
    ],
)
def test_interpolations_are_followed_up(momentum: str, knob: str) -> None:
    text = f"""
    top: -1
    twice: ${{method.momentum}}
    node: ${{method}}
    method: {{momentum: -1}}
    module: {{{PART}, momentum: {momentum}, own: -1}}
    """
    assert built(text) == f"{knob}=-1: must be at least 0"


SEVERAL = f"""
base: {{small: null, lr: -3, rule: linear}}
batch_size: 512
module: {{{PART}, momentum: "${{scaled_lr:${{base.lr}},${{base.rule}},${{batch_size}}}}"}}
"""


@pytest.mark.parametrize(
    ("overrides", "knob"),
    [
        ([], "base.lr=-3"),
        (["batch_size=512"], "batch_size=512"),
        (["+base.rule=linear", "seed=1"], "base.rule=linear"),
        (["base={lr:-3}"], "base.lr=-3"),
        (["other.batch_size=512", "optimizer=sgd", "a/b=c"], "base.lr=-3"),
    ],
)
def test_of_several_knobs_the_overridden_one(overrides: list[str], knob: str) -> None:
    line = built(SEVERAL, *overrides)
    assert line == f"{knob} makes momentum=-6.0: must be at least 0"


def test_of_several_knobs_the_first_that_has_a_value() -> None:
    text = f"a: null\nb: -1\nmodule: {{{PART}, momentum: '${{pick:${{a}},${{b}}}}'}}"
    OmegaConf.register_new_resolver("pick", lambda *values: values[1], replace=True)
    assert built(text) == "b=-1: must be at least 0"


def test_a_group_choice_is_no_override_of_a_knob() -> None:
    text = SEVERAL.replace("base", "optimizer")
    line = built(text, "optimizer=sgd", "batch_size=512")
    assert line.startswith("batch_size=512 makes")


def test_of_two_parts_the_one_that_has_the_value() -> None:
    text = f"""
    first: {{{PART}, momentum: 0.5}}
    module: {{first: "${{first}}", second: "${{second}}", third: "${{third}}"}}
    second: {{{PART}, momentum: -2}}
    third: {{{PART}}}
    """
    cfg = node(text)
    assert said(cfg, lambda: instantiate(cfg.module)) == "second.momentum=-2: must be at least 0"


@pytest.mark.parametrize("target", ["Heir", "part"])
def test_classes_without_an_init_and_decorated_functions(target: str) -> None:
    line = built(f"m: -1\nmodule: {{_target_: helpers.picky.{target}, momentum: '${{m}}'}}")
    assert line == "m=-1: must be at least 0"


def test_a_value_that_is_refused_when_the_part_is_used() -> None:
    cfg = node("m: -1\nmodule: {_target_: helpers.picky.Late, momentum: '${m}'}")
    assert said(cfg, lambda: instantiate(cfg.module).step()) == "m=-1: must be at least 0"


OWNER = f"""
m: -1
n: -7
inner: {{{PART}, _partial_: true, momentum: "${{m}}"}}
module: {{_target_: helpers.picky.Owner, part: "${{inner}}", momentum: "${{n}}"}}
"""


def test_a_factory_that_a_part_calls_later() -> None:
    cfg = node(OWNER)
    assert said(cfg, lambda: instantiate(cfg.module).build()) == "m=-1: must be at least 0"


def test_a_value_that_an_outer_part_hands_on() -> None:
    cfg = node(OWNER)
    assert said(cfg, lambda: instantiate(cfg.module).hand_on()) == "n=-7: must be at least 0"
    cfg = node(OWNER.replace("${m}", "${n}").replace("-1", "3"))
    assert said(cfg, lambda: instantiate(cfg.module).hand_on()) == "n=-7: must be at least 0"


def test_an_argument_that_no_config_gives() -> None:
    text = OWNER.replace(', momentum: "${m}"', "")
    cfg = node(text)
    line = said(cfg, lambda: instantiate(cfg.module).build(momentum=-2))
    assert line == "momentum=-2: must be at least 0"


@pytest.mark.parametrize(
    ("ks", "line"),
    [
        ("[3, -1]", "module.ks[1]=-1: must be at least 0"),
        ("'${ks}'", "ks[1]=-4: must be at least 0"),
        ("[1, '${k}']", "k=-5: must be at least 0"),
        ("[1, '${..k}']", "module.k=-6: must be at least 0"),
    ],
)
def test_an_entry_of_a_list(ks: str, line: str) -> None:
    assert built(f"ks: [3, -4]\nk: -5\nmodule: {{{PART}, ks: {ks}, k: -6}}") == line


def test_a_part_in_a_list() -> None:
    cfg = node(f"parts: [{{{PART}}}, {{{PART}, momentum: -1}}]")
    line = said(cfg, lambda: instantiate(cfg.parts[1]))
    assert line == "parts[1].momentum=-1: must be at least 0"


def test_what_a_part_holds_in_another_form() -> None:
    line = built("ks: [1, 2]\nmodule: {_target_: helpers.picky.Tuples, ks: '${ks}'}")
    assert line == "ks=[1, 2]: must be longer"


@pytest.mark.parametrize("as_dict", [True, False])
def test_the_shortest_place_of_a_saved_config(as_dict: bool) -> None:
    inner = f"{{{PART}, momentum: -1}}"
    cfg = node(f"module: {{a: {{b: {inner}}}}}\ntarget: {inner}\nwide: {{loss: {inner}}}")
    saved = to_plain(cfg) if as_dict else cfg
    line = said(saved, lambda: instantiate(cfg.module))
    assert line == "target.momentum=-1: must be at least 0"


def test_without_a_config_the_argument_has_its_own_name() -> None:
    with pytest.raises(BadValue, match=r"^momentum=-1: must be at least 0$"):
        Part(momentum=-1)
    assert said({}, lambda: Part(momentum=-1)) == "momentum=-1: must be at least 0"
    other = {"m": {"_target_": "helpers.picky.Late", "momentum": -1}, "n": {"_target_": "no.such"}}
    assert said(other, lambda: Part(momentum=-1)) == "momentum=-1: must be at least 0"


def test_what_an_inner_config_does_not_hold_is_left_to_the_outer_one() -> None:
    outer = node(f"m: -1\nmodule: {{{PART}, momentum: '${{m}}'}}")

    def use() -> None:
        with naming_knobs({"x": 1}):
            instantiate(outer.module)

    assert said(outer, use) == "m=-1: must be at least 0"


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), naming_knobs({}):
        raise KeyError
    with pytest.raises(UserError, match=r"^text$") as caught, naming_knobs({}):
        raise UserError("text")
    assert type(caught.value) is UserError


def test_arguments_in_a_text_are_knobs(tmp_path: Path) -> None:
    cfg = OmegaConf.create(
        {
            "data": {"on_error": "stop"},
            "module": {
                "_target_": "ssl_zoo.data.datasets.folder",
                "root": str(tmp_path),
                "on_error": "${data.on_error}",
                "cache_dir": str(tmp_path / "cache"),
            },
        }
    )
    (tmp_path / "a.png").write_text("x")
    line = said(cfg, lambda: instantiate(cfg.module))
    assert line.endswith("or set data.on_error=skip")


def test_arguments_in_a_warning_are_knobs(caplog: pytest.LogCaptureFixture) -> None:
    cfg = node(
        "pixels: {level: 9}\nmodule: {_target_: helpers.picky.warning, level: '${pixels.level}'}"
    )
    with naming_knobs(cfg), naming_knobs({}):
        instantiate(cfg.module)
    instantiate(cfg.module)  # nobody's config
    assert [record.getMessage() for record in caplog.records] == [
        "warning: above pixels.level=9; give pixels.level=10",
        "warning: above level=9; give level=10",
    ]


def test_an_error_keeps_its_cause() -> None:
    cfg = node("module: {_target_: helpers.picky.with_cause, path: x}")
    with pytest.raises(UserError, match="no such file") as caught:
        instantiate(cfg.module)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_part_of_another_library_is_told_with_its_place() -> None:
    text = "slot: {_target_: helpers.picky.stranger, width: 3}\nmodule: {inner: '${slot}'}"
    assert built(text) == "slot: width must not be 3"
    cfg = node(text)
    with pytest.raises(ErrorAt, match=r"^module\.inner: width must not be 3$"):
        instantiate(cfg.module)


def test_a_value_of_another_type(make_config: Make) -> None:
    cfg = make_config("method.temperature=foo")
    with pytest.raises(ErrorAt, match=r"^method\.module\.loss\.temperature=foo: give a number$"):
        instantiate(cfg.method.module)
    line = said(cfg, lambda: instantiate(cfg.method.module))
    assert line == "method.temperature=foo: give a number"
