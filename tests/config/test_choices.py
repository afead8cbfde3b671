"""Which options fit together, before anything is built."""

from __future__ import annotations

import pytest

from ssl_zoo.config import check_choices, chosen_method, chosen_options, slots_of
from ssl_zoo.config.choices import elsewhere, flags_first, is_dry_run
from ssl_zoo.types import UserError


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-m seed=0,1 method.temperature=0.1,0.2",
        "method=moco experiment=moco_quick ablation=moco_mlp",
        "experiment=moco_quick ablation=moco_dictionary_memory_bank",
        "-m experiment=moco_quick ablation=glob(moco_dictionary_*) seed=0,1",
        "-m method=simclr,moco dataset=digits",
        "-m experiment=glob(*_quick) seed=range(3)",
        "experiment=simclr_cifar10_cpu ablation=simclr_table4_margin dataset.root=a",
        "+x=1 ~callbacks.progress hydra.run.dir=x name='a b' resume=runs/x",
        "ckpt=runs/x protocol=linear dataset=shapes",
        "not an override",
    ],
)
def test_what_fits_is_let_through(line: str) -> None:
    check_choices(line.split(" "))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("method=byol ablation=simsiam_predictor_none", r"^ablation=simsiam_predictor_none is of"),
        (
            "experiment=byol_quick method=moco",
            r"but method=moco of method=moco",
        ),
        ("experiment=simsiam_quick ablation=byol_baseline", r"but ablation=byol_baseline of"),
        ("-m experiment=glob(moco_*) ablation=simsiam_asymmetric,moco_mlp", r"of method=simsiam:"),
        ("method=moco ablation=moco_dictionary_memory_bank", r"but method=moco of method=moco"),
        (
            "-m ablation=glob(x*)",
            r"^ablation=glob\(x\*\) matches no option: known: barlow_twins_invariance_only",
        ),
        ("ablation=null", r"^ablation=null: leave it out"),
    ],
)
def test_what_does_not_fit_is_refused(line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_choices(line.split())


def test_sweeps_are_spelled_out() -> None:
    chosen = chosen_options(["method=moco,byol", "dataset=digits", "ablation=glob(byol_target_o*)"])
    assert chosen == {
        "method": ["moco", "byol"],
        "dataset": ["digits"],
        "ablation": ["byol_target_online"],
    }


def test_the_method_that_a_command_line_ends_with() -> None:
    assert chosen_method([]) == "simclr"
    assert chosen_method(["experiment=byol_quick"]) == "byol"
    both = ["experiment=moco_quick", "ablation=moco_dictionary_memory_bank"]
    assert chosen_method(both) == "instdisc"
    assert slots_of("instdisc") == ["projector", "negatives", "loss"]


@pytest.mark.parametrize(
    ("line", "dry"),
    [
        ("seed=1 --dry-run -m", True),
        ("dry_run=true", True),
        ("dry_run=True seed=0", True),
        ("dry_run=false", False),
        ("--dry-run dry_run=false", False),
        ("name=dry_run", False),
    ],
)
def test_what_a_dry_run_is(line: str, dry: bool) -> None:
    assert is_dry_run(flags_first(line.split(), lambda *_: None)) == dry


def test_hydra_writes_elsewhere_in_a_dry_run() -> None:
    args = ["-m", "seed=0,1", "hydra.run.dir=mine", "hydra.sweep.dir=mine"]
    assert elsewhere(args, "/tmp/x") == [
        *("-m", "seed=0,1", "run_dir=mine", "hydra.sweep.dir='/tmp/x/sweep'"),
    ]
