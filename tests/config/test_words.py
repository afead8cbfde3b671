"""A key that has another name here is answered with it."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from helpers.configs import Make
from ssl_zoo.config import options_of
from ssl_zoo.config.interpolations import select
from ssl_zoo.config.words import _NOTHING, _WORDS, check_trainer, check_words
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
        ("trainer.limit_val_batches=1", r"given by the run: .* choose monitor\.every_n_epochs="),
        ("~callbacks", r"^~callbacks: every run needs callbacks, give callbacks=\.\.\."),
        ("~epochs", r"^~epochs: every run needs epochs"),
        ("lr=0.1", r"^lr is not a key here: give optimizer\.base_lr=0\.1, .* optimizer\.lr=0\.1"),
        ("model=simclr,byol", r"give method=simclr,byol$"),
        ("model=resnet18", r"give backbone=resnet18$"),
        ("arch=resnet18", r"give backbone=resnet18$"),
        ("arch=vit_b_16", r"give backbone=torchvision or .*backbone\.name=vit_b_16$"),
        ("data=cifar10", r"give dataset=cifar10$"),
        ("data_dir=~/images", r"give dataset\.root=~/images$"),
        ("ckpt_path=x.ckpt", r"give resume=RUN$"),
        ("wd=1e-4", r"give optimizer\.weight_decay=1e-4$"),
        ("bs=256", r"give batch_size=256$"),
        ("+max_epochs=100", r"give epochs=100$"),
        ("trainer.gpus=2", r"give devices=2$"),
        ("gradient_clip_val=1", r"give clip_norm=1$"),
        ("pretrained=true", r"give init=torchvision:NAME, timm:NAME, .* without it .* random$"),
        ("pretrained=x.pth", r"give init=x\.pth$"),
        ("from_scratch=true", r"^from_scratch is not a key here: a run starts from random"),
        ("momentum=0.9", r"give optimizer\.momentum=0\.9, .* method\.momentum=0\.9$"),
        ("queue_size=64", r"give method\.queue_size=64$"),
        ("crop_size=64", r"give dataset\.image_size=64$"),
        ("~method.temperature", r"^~method\.temperature .* give method\.temperature=VALUE$"),
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
        *("data=default", "~logger", "trainer.nonsense=1", "~trainer.max_time", "-m"),
        *("logger=[wandb,tensorboard]", "logger=wandb", "logger.wandb.project=x", "logger.x=1"),
    ],
)
def test_other_keys_are_left_to_hydra(arg: str) -> None:
    check_words([arg])


@pytest.mark.parametrize(
    ("arg", "answer"),
    [
        ("ckpt_path=x", "give ckpt=x"),
        ("eval=linear", "give protocol=linear"),
        ("epochs=5", "give protocol.PROTOCOL.epochs=5"),
        ("bs=8", "give batch_size=8"),
        ("data=cifar10", "give dataset=cifar10"),
    ],
)
def test_words_of_evaluate(arg: str, answer: str) -> None:
    with pytest.raises(UserError, match=answer):
        check_words([arg], "evaluate")


@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_no_word_hides_a_key_or_group_of_ours(make_config: Make, program: str) -> None:
    cfg = make_config(tiny=False, name=program)
    keys = {key for key in _WORDS[program] if OmegaConf.select(cfg, key) is not None}
    assert keys <= {"data.batch_size", "data.num_workers"}  # what conf/data wires
    assert not [key for key in _WORDS[program] if options_of(key)]


@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_what_a_word_names_is_a_key(make_config: Make, program: str) -> None:
    chosen = ["dataset=folder", "dataset.root=."]
    if program == "train":
        chosen += ["logger=wandb", "callbacks=[default,early_stopping]"]
        chosen += ["method=moco", "optimizer=sgd"]
    cfg = make_config(*chosen, tiny=False, name=program)
    answers = [a for a in _WORDS[program].values() if not a.startswith(_NOTHING)]
    named = {answer.split("=")[0] for answer in answers if "=" in answer}
    named -= {"hydra.run.dir", "protocol.PROTOCOL.epochs", "protocol.PROTOCOL.learning_rates"}
    tree = OmegaConf.to_container(cfg, resolve=False)
    assert not [key for key in named if select(tree, key, default="absent") == "absent"]


def test_a_file_that_gives_lightning_what_a_knob_gives_it(make_config: Make) -> None:
    cfg = make_config()
    check_trainer(cfg)
    OmegaConf.set_struct(cfg, False)
    cfg.trainer.max_epochs = 3
    with pytest.raises(UserError, match=r"^trainer\.max_epochs .* epochs: set epochs instead$"):
        check_trainer(cfg)
    cfg.trainer.max_epochs = "${epochs}"
    del cfg.trainer["max_steps"]
    with pytest.raises(UserError, match=r"^trainer\.max_steps is missing: its default is -1$"):
        check_trainer(cfg)
