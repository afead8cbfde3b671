"""The command line answers before torch is imported, in one line where the input is bad."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from ssl_zoo.choices import CONFIG_DIR
from ssl_zoo.config import flatten, register_resolvers, scaled_lr, sweep_group, to_plain
from ssl_zoo.errors import nearest
from ssl_zoo.knobs import TRAIN_ROOTS, check_overrides, overridden_keys, unread_overrides
from ssl_zoo.types import UserError

Make = Callable[..., DictConfig]
ROOT = Path(__file__).parents[1]

# Runs a program as `python PROGRAM ARGS...` does, and then looks what it imported. An answer on
# the way out replaces the exit code, so that a test cannot miss it.
WITHOUT_TORCH = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, "")
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    if "torch" in sys.modules:
        print("torch was imported")
        sys.stdout.flush()
        import os
        os._exit(99)
"""


def without_torch(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The answer of a program of ours that must come before torch is imported."""
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *args, f"hydra.run.dir={folder}"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert "torch was imported" not in answer.stdout, answer.stdout + answer.stderr
    return answer


def option_names(group: Path) -> set[str]:
    return {path.stem for path in group.glob("*.yaml")}


def test_help_of_train_lists_groups_options_and_examples(tmp_path: Path) -> None:
    answer = without_torch("train.py", "--help", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    listed = dict(line.split(": ", 1) for line in answer.stdout.splitlines() if ": " in line)
    folders = [path for path in Path(CONFIG_DIR).rglob("*") if any(path.glob("*.yaml"))]
    assert len(folders) > 10
    for group in folders:
        name = group.relative_to(CONFIG_DIR).as_posix()
        assert set(listed[name].split(", ")) == option_names(group), name
    examples = [line for line in answer.stdout.splitlines() if line.startswith("python train.py")]
    assert len(examples) == 7


def test_help_of_evaluate(tmp_path: Path) -> None:
    answer = without_torch("evaluate.py", "--help", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "protocol: all_frozen, detection" in answer.stdout
    assert answer.stdout.count("\npython evaluate.py") == 10


@pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
def test_cfg_job_prints_the_config(program: str, tmp_path: Path) -> None:
    answer = without_torch(program, "--cfg", "job", "batch_size=96", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert OmegaConf.create(answer.stdout).batch_size == 96


BAD = {
    "mistyped key": ("train.py method.temprature=0.2", ["method.temprature", "method.temperature"]),
    "mistyped key of a chosen option": (
        "train.py optimizer=sgd optimizer.momentm=0.9",
        ["optimizer.momentm", "optimizer.momentum"],
    ),
    "key like no other": ("train.py xyz=1", ["xyz", "batch_size", "epochs", "method"]),
    "mistyped option": ("train.py dataset=cifar", ["dataset=cifar", "cifar10 or cifar100"]),
    "mistyped nested option": ("train.py method/loss=x", ["method/loss=x", "info_nce"]),
    "mistyped group": ("train.py method/los=info_nce", ["method/los", "method/loss"]),
    "missing value": ("train.py dataset=folder", ["dataset.root"]),
    "unread knob": (
        "train.py method/projector=none method.hidden_dim=64",
        ["method.hidden_dim", "no chosen part reads it"],
    ),
    "bad value": ("train.py optimizer.lr_rule=cubic", ["lr_rule=cubic", "linear"]),
    "bad syntax": ("train.py epochs", ["epochs", "KEY=VALUE"]),
    "slot of another method": (
        "train.py method/target=momentum",
        ["method/target is no slot of simclr: it has projector, negatives, loss"],
    ),
    "ablation of another method than the recipe's": (
        "train.py experiment=byol_quick ablation=simclr_table4_margin",
        ["experiment=byol_quick is of method=byol, but ablation=simclr_table4_margin of"],
    ),
    "group of the other program": (
        "train.py protocol=knn",
        ["protocol is a group of another program than train.py"],
    ),
    "null for a group": (
        "train.py experiment=null",
        ["experiment=null: leave"],
    ),
    "no flag": ("evaluate.py ckpt=x baselines=no", ["baselines=no: give true or false"]),
    "recipe of another method": (
        "train.py experiment=byol_quick method=simclr",
        ["experiment=byol_quick is of method=byol, but method=simclr of method=simclr"],
    ),
    "ablation of another method": (
        "train.py -m ablation=moco_mlp,simsiam_asymmetric method=moco seed=0,1",
        ["ablation=simsiam_asymmetric is of method=simsiam, but method=moco of method=moco"],
    ),
    "glob that matches nothing": (
        "train.py -m ablation=glob(simclr_lozz_*)",
        ["ablation=glob(simclr_lozz_*) matches no option", "simclr_loss_ntxent_t010"],
    ),
    "in a sweep": ("train.py -m method.temprature=1,2", ["method.temperature"]),
    "no checkpoint": ("evaluate.py", ["ckpt"]),
    "one of a list mistyped": (
        "evaluate.py ckpt=x protocol=[knn,linea]",
        ["protocol=[linea] is not an option", "linear"],
    ),
    "knob of a protocol that is not chosen": (
        "evaluate.py ckpt=x protocol.linear.epochs=3",
        ["protocol=linear is not chosen: add it"],
    ),
    "mistyped protocol": ("evaluate.py ckpt=x protocol=linea", ["protocol=linea", "linear"]),
    "mistyped key of evaluate": ("evaluate.py ckpt=x baseline=false", ["baseline", "baselines"]),
    "bad syntax of evaluate": ("evaluate.py ckpt=x baselines", ["baselines", "KEY=VALUE"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, tmp_path: Path) -> None:
    command, said = BAD[case]
    sweep = f"hydra.sweep.dir={tmp_path}"
    answer = without_torch(*command.split(), sweep, folder=tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert "Traceback" not in answer.stdout
    for words in said:
        assert words in answer.stderr
    assert not list(tmp_path.glob("*.log"))


def test_several_devices_in_a_sweep_are_refused(tmp_path: Path) -> None:
    sweep = f"hydra.sweep.dir={tmp_path}"
    answer = without_torch("train.py", "-m", "devices=2", "seed=0,1", sweep, folder=tmp_path)
    assert answer.returncode != 0
    assert "Traceback" not in answer.stderr
    for job in range(2):
        refused = f"error: job {job}: devices=2 num_nodes=1 in a multirun start the sweep again"
        assert refused in answer.stderr
        assert f"as in: python train.py devices=2 seed={job}\n" in answer.stderr


# --- ssl_zoo.config ------------------------------------------------------------------------------


def node(text: str) -> DictConfig:
    register_resolvers()
    config = OmegaConf.create(text)
    assert isinstance(config, DictConfig)
    return config


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


def test_flatten() -> None:
    tree = {"a": 1, "b": {"c": {"d": None}, "e": [1, {"f": 2}]}, "g": {}}
    assert flatten(tree) == {"a": 1, "b.c.d": None, "b.e": [1, {"f": 2}], "g": {}}


@pytest.mark.parametrize(
    ("rule", "batch_size", "expected"),
    [("none", 1024, 0.3), ("linear", 1024, 1.2), ("sqrt", 1024, 0.6), ("linear", 64, 0.075)],
)
def test_scaled_lr(rule: str, batch_size: int, expected: float) -> None:
    assert scaled_lr(0.3, rule, batch_size) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("base_lr", "rule", "batch_size", "published"),
    [
        (0.05, "linear", 512, 0.1),  # SimSiam
        (0.3, "linear", 256, 0.3),  # SimCLR
        (0.3, "linear", 4096, 4.8),
        (1.2, "sqrt", 4096, 4.8),  # 0.075 times the root of the batch
        (1.2, "sqrt", 256, 1.2),
        (0.1, "linear", 4096, 1.6),  # its linear evaluation
    ],
)
def test_published_rates(base_lr: float, rule: str, batch_size: int, published: float) -> None:
    assert scaled_lr(base_lr, rule, batch_size) == pytest.approx(published, rel=1e-12)


def test_scaled_lr_of_an_unknown_rule() -> None:
    with pytest.raises(UserError, match=r"lr_rule=cubic.*none, linear, sqrt"):
        scaled_lr(0.3, "cubic", 256)


def test_the_rate_in_the_config(make_config: Make) -> None:
    overrides = ["optimizer=sgd", "optimizer.base_lr=0.1", "batch_size=512"]
    optimizer = to_plain(make_config(*overrides))["optimizer"]
    assert optimizer["lr"] == pytest.approx(0.2)
    assert optimizer["module"]["optimizer"]["lr"] == optimizer["lr"]
    swept = to_plain(make_config(*overrides, "optimizer.lr=7"))["optimizer"]
    assert swept["module"]["optimizer"]["lr"] == 7


def test_nearest() -> None:
    names = ["seed", "epochs", "optimizer", "optimizer.lr", "optimizer.momentum"]
    assert nearest("optimizer.momentun", names).startswith("did you mean optimizer.momentum")
    assert nearest("zzz", names) == "known: epochs, optimizer, seed"
    assert nearest("zzz.y", names).startswith("known: epochs, optimizer, optimizer.lr")


def test_missing_value() -> None:
    with pytest.raises(UserError, match=r"^a\.b has no value: give a\.b=\.\.\."):
        to_plain(node("a: {b: '???', c: 1}"))


def test_interpolation_of_nothing_is_one_line() -> None:
    with pytest.raises(UserError, match="nowhere") as caught:
        to_plain(node("a: ${nowhere}"))
    assert "\n" not in str(caught.value)


def test_no_sweep_no_group(make_config: Make) -> None:
    assert sweep_group() is None
    assert to_plain(make_config("logger=wandb"))["logger"]["group"] is None
