"""A key that has another name here is answered with it."""

from __future__ import annotations

import pytest

from ssl_zoo.config.words import check_words
from ssl_zoo.types import UserError


@pytest.mark.parametrize(
    ("arg", "answer"),
    [
        ("trainer.max_epochs=5", r"^trainer\.max_epochs has its value from epochs: give epochs=5$"),
        ("+trainer.max_epochs=5", r"give epochs=5$"),
        ("++trainer.max_epochs=5", r"give epochs=5$"),
        ("trainer.max_epochs=5,10", r"give epochs=5,10$"),
        ("trainer.accumulate_grad_batches=2", r"give accumulate=2$"),
        ("trainer.gradient_clip_val=1.0", r"give clip_norm=1\.0$"),
        ("trainer.precision=bf16-mixed", r"give precision=bf16-mixed$"),
        ("trainer.devices=2", r"give devices=2$"),
        ("trainer.strategy=ddp", r"give strategy=ddp$"),
        (
            "+trainer.callbacks=[]",
            r"^trainer\.callbacks is given by the run: .* choose callbacks=$",
        ),
        ("+trainer.logger=false", r"^trainer\.logger is given by the run: .* choose logger=$"),
        ("logger.project=x", r"^logger\.project has moved: give logger\.wandb\.project=x$"),
        ("logger.folder=x", r"logger\.tensorboard\.folder or logger\.wandb\.folder=x$"),
    ],
)
def test_the_right_key_is_named(arg: str, answer: str) -> None:
    with pytest.raises(UserError, match=answer):
        check_words(["method=moco", arg])


@pytest.mark.parametrize(
    "arg",
    [
        *("trainer.max_steps=100", "+trainer.profiler=simple", "trainer=default", "epochs=5"),
        *("trainer.limit_val_batches=1", "trainer.nonsense=1", "~trainer.max_time", "-m"),
        *("logger=[wandb,tensorboard]", "logger=wandb", "logger.wandb.project=x", "logger.x=1"),
    ],
)
def test_other_keys_are_left_to_hydra(arg: str) -> None:
    check_words([arg])
