"""The number of steps that is counted beforehand is the number that a run takes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from helpers.configs import Make
from helpers.runs import state
from helpers.tiers import every
from ssl_zoo.config import instantiate
from ssl_zoo.train import train
from ssl_zoo.training.build import facts_of
from ssl_zoo.training.steps import count_steps
from ssl_zoo.types import UserError

PLAIN: dict[str, Any] = {
    "max_epochs": 3,
    "max_steps": -1,
    "limit_train_batches": 1.0,
    "accumulate_grad_batches": 1,
    "fast_dev_run": False,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (10, 30)),
        ({"max_steps": 12}, (10, 12)),
        ({"max_steps": 100}, (10, 30)),
        ({"limit_train_batches": 4}, (4, 12)),
        ({"limit_train_batches": 1}, (1, 3)),
        ({"limit_train_batches": 99}, (10, 30)),
        ({"limit_train_batches": 0.25}, (2, 6)),
        ({"limit_train_batches": 4.0}, (4, 12)),
        ({"limit_train_batches": None}, (10, 30)),
        ({"accumulate_grad_batches": 2}, (5, 15)),
        ({"accumulate_grad_batches": 4, "limit_train_batches": 6}, (2, 6)),
        ({"fast_dev_run": True}, (1, 1)),
        ({"fast_dev_run": 3, "accumulate_grad_batches": 2}, (2, 2)),
        ({"fast_dev_run": 99, "max_steps": 1}, (10, 10)),
    ],
)
def test_steps_of_an_epoch_and_of_the_run(
    changes: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert count_steps(10, PLAIN | changes) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_steps", value) for value in (0, -2, 1.5, "x", True, None)),
        *(("limit_train_batches", value) for value in (0, 0.0, -1, 0.05, 1.5, "x", True)),
        *(("fast_dev_run", -1), ("min_epochs", 4), ("min_steps", 31)),
    ],
)
def test_a_limit_that_is_none_is_named(name: str, value: object) -> None:
    typed = {True: "true", None: "null"}.get(value, value)  # type: ignore[call-overload]
    with pytest.raises(UserError, match=rf"^{name}={typed}: must be "):
        count_steps(10, PLAIN | {"max_steps": 30, name: value})


@pytest.mark.parametrize(("max_steps", "told"), [(-1, False), (8, False), (9, True)])
def test_steps_that_the_epochs_do_not_have_are_told(
    make_config: Make, caplog: pytest.LogCaptureFixture, max_steps: int, told: bool
) -> None:
    cfg = make_config("epochs=2", f"trainer.max_steps={max_steps}")
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        facts = facts_of(cfg, instantiate(cfg.data))
    assert facts.total_steps == 8
    line = "epochs=2 ends the run after 8 steps, before trainer.max_steps=9: raise epochs for more"
    assert (line in caplog.messages) == told


class Epochs(Callback):
    """Where each epoch ended."""

    def __init__(self) -> None:
        self.ends: list[int] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ends.append(trainer.global_step)


COUNTS: list[tuple[list[str], list[int]]] = [  # 4 micro-batches an epoch, 8 of half the size
    ([], [4, 8]),
    (["trainer.max_steps=5"], [4, 5]),
    (["trainer.max_steps=4"], [4]),
    (["trainer.limit_train_batches=3"], [3, 6]),
    (["trainer.limit_train_batches=0.5"], [2, 4]),
    (["accumulate=2"], [4, 8]),
    (["accumulate=2", "trainer.limit_train_batches=3"], [2, 4]),
    (["accumulate=2", "trainer.limit_train_batches=3", "trainer.max_steps=3"], [2, 3]),
    (["trainer.overfit_batches=1"], [1, 2]),
    (["trainer.overfit_batches=0.75", "accumulate=2"], [3, 6]),
    (["accumulate=2", "trainer.overfit_batches=3", "trainer.limit_train_batches=2"], [1, 2]),
]


@pytest.mark.parametrize(
    ("overrides", "ends"), every(len(COUNTS), COUNTS), ids=lambda value: " ".join(map(str, value))
)
def test_a_run_takes_them_and_its_schedule_ends_with_them(
    make_config: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    ends: list[int],
) -> None:
    cfg = make_config("epochs=2", "callbacks=none", *overrides)
    facts = facts_of(cfg, instantiate(cfg.data))
    assert (facts.steps_per_epoch, facts.total_steps) == (ends[0], ends[-1])
    epochs = Epochs()
    from ssl_zoo.training.build import build_callbacks

    with monkeypatch.context() as patch:
        patch.setattr(
            "ssl_zoo.training.run.build_callbacks", lambda *a: [*build_callbacks(*a), epochs]
        )
        train(cfg)
    assert epochs.ends == ends
    saved: Any = state(tmp_path / "run")
    assert saved["global_step"] == ends[-1]
    assert saved["lr_schedulers"][0]["_last_lr"] == [0.0, 0.0], "the cosine has not come to its end"


@pytest.mark.slow
def test_the_moving_average_ends_with_them(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BYOL's k / K, at every optimizer step of a run that trainer.max_steps ends."""
    seen: list[float] = []
    from ssl_zoo.methods import BYOL

    update = BYOL.update

    def record(self: BYOL, progress: float) -> None:
        seen.append(progress)
        update(self, progress)

    monkeypatch.setattr(BYOL, "update", record)
    heads = ["method.hidden_dim=16", "method.predictor_dim=16"]
    train(make_config("method=byol", *heads, "epochs=2", "callbacks=none", "trainer.max_steps=5"))
    assert seen == [0, 1 / 5, 2 / 5, 3 / 5, 4 / 5]


@pytest.mark.slow
def test_a_target_that_lags_an_epoch_lags_a_limited_epoch(make_config: Make) -> None:
    from ssl_zoo.training.build import build_method

    cfg = make_config("ablation=simsiam_alternation_epoch", "trainer.limit_train_batches=3")
    method: Any = build_method(cfg, instantiate(cfg.data))
    assert method.target.every == 3
