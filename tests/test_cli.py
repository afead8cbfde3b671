"""The command line answers before torch is imported, in one line where the input is bad."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from helpers.paths import ROOT
from helpers.tiers import every
from ssl_zoo.config import CONFIG_DIR

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
    places = [path.relative_to(CONFIG_DIR) for path in folders]
    # Hydra's own are not listed, and sweeps for W&B's agent are no options
    groups = [place for place in places if place.parts[0] not in ("hydra", "wandb_sweep", "study")]
    assert len(groups) > 10
    assert "wandb_sweep" not in answer.stdout
    assert "study:" not in answer.stdout
    assert not any(name.startswith("hydra") for name in listed)
    for group in groups:
        name = group.as_posix()
        assert set(listed[name].split(", ")) == option_names(Path(CONFIG_DIR) / group), name
    examples = [line for line in answer.stdout.splitlines() if line.startswith("python train.py")]
    assert len(examples) == 8


def test_help_of_evaluate(tmp_path: Path) -> None:
    answer = without_torch("evaluate.py", "--help", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "protocol: all_frozen, detection" in answer.stdout
    for option in option_names(Path(CONFIG_DIR) / "protocol"):  # what each does
        text = (Path(CONFIG_DIR) / "protocol" / f"{option}.yaml").read_text()
        comments = [line for line in text.splitlines() if re.match("# (?!@package)", line)]
        assert re.search(rf"^{option} +{re.escape(comments[0][2:])}$", answer.stdout, re.M)
    assert answer.stdout.count("\npython evaluate.py") == 11


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
        ["method/target is not a slot of simclr: it has projector, negatives, loss"],
    ),
    "ablation of another method than the recipe's": (
        "train.py experiment=byol_quick ablation=simclr_table4_margin",
        ["experiment=byol_quick is of method=byol, but ablation=simclr_table4_margin of"],
    ),
    "a sweep of W&B's agent": (
        "train.py wandb_sweep=grid",
        ["wandb_sweep is for W&B's agent: wandb sweep conf/wandb_sweep/OPTION.yaml"],
    ),
    "a study": (
        "train.py study=quick",
        ["study is for studies: python -m ssl_zoo.study run study=NAME"],
    ),
    "group of the other program": (
        "train.py protocol=knn",
        ["protocol is not of train.py: it is read by the other program"],
    ),
    "key of the other program": (
        "evaluate.py ckpt=x trainer.max_steps=3",
        ["trainer.max_steps is not of evaluate.py: it is read by the other program"],
    ),
    "key of a logger that is not chosen": (
        "train.py logger.wandb.project=x",
        ["logger.wandb.project is set, but logger=wandb is not chosen: add logger=wandb"],
    ),
    "key of the second of two options": (
        "train.py callbacks=[default,early_stopping] callbacks.early_stopping.patiance=3",
        ["did you mean callbacks.early_stopping.patience"],
    ),
    "a flag that is no flag": (
        "train.py seed=1 --epochs 3",
        ["--epochs is not a flag: give epochs=3"],
    ),
    "a list without brackets": (
        "train.py trust=a,b",
        ["trust=a,b is several values: a list is trust=[a,b]"],
    ),
    "a sweep without its flag": (
        "train.py seed=0,1",
        ["seed=0,1 is a run for each value: add -m, as in train.py -m seed=0,1"],
    ),
    "a path with a comma": (
        "train.py dataset=folder dataset.root=/a,b",
        ["as one text it is \"dataset.root='/a,b'\""],
    ),
    "a knob that not every method of a sweep has": (
        "train.py -m method=simclr,byol method.temperature=0.1,0.2",
        ["method.temperature is not a key with method=byol: run those in a sweep of their own"],
    ),
    "a knob of another option": (
        "train.py dataset.root=x",
        ["dataset.root is not a key with this dataset: dataset=cifar10 or", " has it"],
    ),
    "several options of a group that takes one": (
        "train.py debug=[fast,limit]",
        ["debug=[fast,limit]: give one option, or a run for each: -m debug=fast,limit"],
    ),
    "a plus before a group": ("train.py +debug=fast", ["+debug is there already: leave out"]),
    "the config of a sweep": (
        "train.py -m --cfg job seed=0,1",
        ["--cfg shows the config of one run: remove -m"],
    ),
    "no key": ("train.py =3", ["=3 is not KEY=VALUE"]),
    "no number": ("train.py epochs=abc", ["epochs=abc: give a whole number of at least 1"]),
    "a text with an equals sign": ("train.py name=a=b epochs=0", ["epochs=0: give a whole"]),
    "no option of a list": ("train.py callbacks=[]", ["callbacks=[]: give an option", "none"]),
    "true for a group": ("train.py logger=true", ["logger=true is not an option: known: csv"]),
    "an option of ones own without its folder": (
        "train.py backbone=mine",
        ["backbone=mine is not an option", "(options of your own: --config-dir DIR)"],
    ),
    "a plus too many": ("train.py +trainer.max_steps=3", ["leave out the +"]),
    "overrides on both sides of a flag": (
        "train.py seed=1 --config-dir . method.temprature=1",
        ["method.temprature is not a key", "method.temperature"],
    ),
    "last part of a name": ("train.py temperature=1", ["did you mean method.temperature or"]),
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
    "argument of the trainer that a knob gives": (
        "train.py trainer.max_epochs=5",
        ["trainer.max_epochs has its value from epochs: give epochs=5"],
    ),
    "old key of a logger, in a sweep": (
        "train.py -m logger=wandb logger.project=a,b",
        ["logger.project has moved: give logger.wandb.project=a,b"],
    ),
    "mistyped argument of the trainer": ("train.py trainer.max_stpes=5", ["trainer.max_steps"]),
    "in a sweep": ("train.py -m method.temprature=1,2", ["method.temperature"]),
    "no checkpoint": ("evaluate.py", ["ckpt"]),
    "one of a list mistyped": (
        "evaluate.py ckpt=x protocol=[knn,linea]",
        ["protocol=[linea] is not an option", "linear"],
    ),
    "knob of a protocol that is not chosen": (
        "evaluate.py ckpt=x protocol.linear.epochs=3",
        ["protocol=linear is not chosen: add protocol=linear"],
    ),
    "backbone beside a checkpoint": (
        "evaluate.py ckpt=x backbone=resnet18",
        ["backbone=resnet18: ckpt=x brings its own, remove it"],
    ),
    "wiring beside a checkpoint": (
        "evaluate.py ckpt=x data.fold=1",
        ["data.fold=1: ckpt=x brings its own, remove it"],
    ),
    "views beside a checkpoint": (
        "evaluate.py ckpt=x augmentation=mocov2",
        ["augmentation=mocov2: ckpt=x brings its own, remove it"],
    ),
    "mistyped protocol": ("evaluate.py ckpt=x protocol=linea", ["protocol=linea", "linear"]),
    "mistyped key of evaluate": ("evaluate.py ckpt=x baseline=false", ["baseline", "baselines"]),
    "bad syntax of evaluate": ("evaluate.py ckpt=x baselines", ["baselines", "KEY=VALUE"]),
}


@pytest.mark.parametrize("case", every(6, BAD))
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


INTERRUPTS = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("ROOT/train.py seed=1", "hydra"),
        ("ROOT/train.py -m seed=0,1", "ssl_zoo.training.sweep_job"),
        ("ROOT/evaluate.py ckpt=x", "omegaconf"),
        ("-m ssl_zoo.train seed=1", "yaml"),
        ("-m ssl_zoo.evaluate ckpt=x", "hydra"),
        ("-m ssl_zoo.table runs", "ssl_zoo.summary"),
        ("-m ssl_zoo.export runs/x", "ssl_zoo.checkpoints"),
        ("-m ssl_zoo.study", "ssl_zoo.study.cli"),
        ("-c 'from ssl_zoo.cli import main; main()' train seed=1", "hydra"),
        ("ROOT/train.py dataset=shapes", "torch"),
        ("ROOT/train.py -m dataset=shapes seed=0,1", "torch"),
    ],
)
def test_ctrl_c_while_a_program_imports_shows_no_traceback(
    line: str, at: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)
    places = os.pathsep.join([str(tmp_path), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, *shlex.split(line.replace("ROOT", str(ROOT)))],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": places, "AT": at},
        capture_output=True,
        text=True,
    )
    assert ended.returncode in (-signal.SIGINT, 128 + signal.SIGINT), ended.stderr
    assert "Traceback" not in ended.stderr
    if ended.returncode < 0:
        assert ended.stdout == ended.stderr == ""


@pytest.mark.slow
def test_an_option_of_the_user_s_that_is_hidden_by_ours_is_named(tmp_path: Path) -> None:
    own = tmp_path / "own" / "method"
    own.mkdir(parents=True)
    (own / "vicreg.yaml").write_text("dim: 1")
    (own / "mine.yaml").write_text("dim: 1")
    (own / "moco.yaml").write_bytes((Path(CONFIG_DIR) / "method" / "moco.yaml").read_bytes())
    place = str(tmp_path / "own")
    for given in (["--config-dir", place], [f"hydra.searchpath=[file://{place}]"]):
        shown = [sys.executable, "train.py", *given, "method=vicreg", "--cfg", "job"]
        ended = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == (
            f"not read: {own / 'vicreg.yaml'}: ssl_zoo's own file of that name, in {CONFIG_DIR}, "
            "goes first: rename yours, and choose the new name\n"
        )
