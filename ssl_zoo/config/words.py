"""Keys of other tools that people type, and what they are called here. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config.choices import LISTS, groups_of
from ssl_zoo.config.groups import options_of, read_option
from ssl_zoo.types import UserError

_NOTHING = "nothing for it: "  # before a reason, where there is nothing to type instead

# Words of Lightning, timm, solo-learn, lightly and the Hydra template, and what to type instead;
# {} is the value that was given.
_OF_BOTH = {
    **dict.fromkeys(("bs", "batch", "batchsize", "data.batch_size"), "batch_size={}"),
    **dict.fromkeys(("train_batch_size", "optimizer.batch_size"), "batch_size={}"),
    **dict.fromkeys(("datamodule", "ds", "data.name", "dataset_name"), "dataset={}"),
    **dict.fromkeys(("root", "data_dir", "data_path", "data.root"), "dataset.root={}"),
    **dict.fromkeys(("data_root", "path", "train_dir", "paths.data_dir"), "dataset.root={}"),
    **dict.fromkeys(("workers", "n_workers", "data.num_workers"), "dataset.num_workers={}"),
    **dict.fromkeys(
        ("img_size", "image_size", "crop_size", "input_size", "resolution"), "dataset.image_size={}"
    ),
    **dict.fromkeys(("arch", "net", "network", "encoder"), "backbone={}"),
    **dict.fromkeys(("aug", "augment", "augmentations", "transform"), "augmentation={}"),
    "transforms": "augmentation={}",
    "random_seed": "seed={}",
}
_OF_TRAIN = _OF_BOTH | {
    **dict.fromkeys(("lr", "learning_rate", "base_lr", "optimizer.learning_rate"), "_rate"),
    **dict.fromkeys(("model.lr", "model.optimizer.lr"), "_rate"),
    **dict.fromkeys(("wd", "optimizer.wd", "decay"), "optimizer.weight_decay={}"),
    **dict.fromkeys(("max_epochs", "num_epochs", "n_epochs", "epoch", "ep"), "epochs={}"),
    **dict.fromkeys(("max_steps", "steps", "num_steps"), "trainer.max_steps={}"),
    "fast_dev_run": "trainer.fast_dev_run={}",
    **dict.fromkeys(("model", "algorithm", "algo", "ssl", "method.name"), "_model"),
    **dict.fromkeys(("optim", "opt", "optimiser"), "optimizer={}"),
    **dict.fromkeys(("sched", "lr_scheduler", "lr_schedule"), "scheduler={}"),
    **dict.fromkeys(("warmup", "scheduler.warmup"), "scheduler.warmup_epochs={}"),
    **dict.fromkeys(("temp", "tau", "loss.temperature"), "method.temperature={}"),
    **dict.fromkeys(("projection_dim", "proj_dim", "out_dim"), "method.embed_dim={}"),
    **dict.fromkeys(("ckpt_path", "resume_from", "resume_from_checkpoint"), "resume=RUN"),
    **dict.fromkeys(("trainer.resume_from_checkpoint", "trainer.ckpt_path"), "resume=RUN"),
    **dict.fromkeys(("ckpt", "checkpoint", "weights", "pretrained"), "_init"),
    "pretrained_weights": "_init",
    **dict.fromkeys(("gradient_clip_val", "clip_grad", "grad_clip"), "clip_norm={}"),
    **dict.fromkeys(("accumulate_grad_batches", "grad_accum"), "accumulate={}"),
    "gradient_accumulation_steps": "accumulate={}",
    **dict.fromkeys(("gpus", "num_gpus", "n_gpus", "trainer.gpus"), "devices={}"),
    **dict.fromkeys(("nodes", "world_size"), "num_nodes={}"),
    **dict.fromkeys(("amp", "fp16", "mixed_precision"), "precision=16-mixed"),
    "bf16": "precision=bf16-mixed",
    **dict.fromkeys(("syncbn", "sync_bn"), "sync_batchnorm={}"),
    **dict.fromkeys(("exp_name", "run_name", "experiment_name", "task_name"), "name={}"),
    **dict.fromkeys(("wandb.name", "logger.wandb.run_name"), "name={}"),
    **dict.fromkeys(("output_dir", "out_dir", "save_dir", "log_dir", "out"), "hydra.run.dir={}"),
    **dict.fromkeys(("paths.output_dir", "paths.log_dir", "paths.root_dir"), "hydra.run.dir={}"),
    **dict.fromkeys(("wandb", "use_wandb"), "logger=wandb"),
    **dict.fromkeys(("project", "wandb.project", "wandb_project"), "logger.wandb.project={}"),
    **dict.fromkeys(("entity", "wandb.entity", "wandb_entity"), "logger.wandb.entity={}"),
    **dict.fromkeys(("tags", "wandb.tags"), "logger=wandb logger.wandb.tags={}"),
    **dict.fromkeys(("notes", "wandb.notes"), "logger=wandb logger.wandb.notes={}"),
    **dict.fromkeys(("wandb.mode", "wandb_mode"), "logger.wandb.mode={}"),
    **dict.fromkeys(("offline", "wandb.offline"), "logger.wandb.mode=offline"),
    **dict.fromkeys(("strategy.name", "distributed"), "strategy=ddp"),
    **dict.fromkeys(("val_split", "val_size"), "dataset.val_fraction={}"),
    "data.train_val_test_split": "dataset.val_fraction=0.1",
    **dict.fromkeys(("callback", "trainer.callback"), "callbacks={}"),
    **dict.fromkeys(("loss_weight", "scale_loss", "loss_scale"), "method.loss_weight={}"),
    "patience": "callbacks.early_stopping.patience={}",
    "momentum": "optimizer.momentum={}, or of a momentum encoder method.momentum={}",
    **dict.fromkeys(("ema", "ema_decay", "momentum_tau", "base_momentum"), "method.momentum={}"),
    **dict.fromkeys(("queue_size", "memory_bank_size", "K"), "method.queue_size={}"),
    "from_scratch": _NOTHING + "a run starts from random weights where init= is not given",
    "early_stopping": "callbacks=[default,early_stopping]",
    "callbacks.model_summary.max_depth": "trainer.enable_model_summary=true",
    "model.compile": "compile={}",
    **dict.fromkeys(("print_config", "extras.print_config"), "--cfg job, which prints the config"),
    "extras.enforce_tags": "logger=wandb logger.wandb.tags=[a,b]",
    "extras.ignore_warnings": "python -W ignore train.py",
    **dict.fromkeys(("train", "test"), _NOTHING + "train.py trains, evaluate.py tests"),
    "hparams_search": "-m and several values for a knob (a grid), or conf/wandb_sweep/*.yaml",
    **dict.fromkeys(("optimized_metric", "monitor_metric"), "objective={}"),
}
_OF_EVALUATE = _OF_BOTH | {
    **dict.fromkeys(("checkpoint", "ckpt_path", "weights", "pretrained", "init"), "ckpt={}"),
    **dict.fromkeys(("model", "run", "resume", "pretrained_weights"), "ckpt={}"),
    **dict.fromkeys(("eval", "protocols", "task", "probe", "evaluation"), "protocol={}"),
    **dict.fromkeys(("out_dir", "output_dir", "save_dir", "output"), "out={}"),
    **dict.fromkeys(("epochs", "max_epochs", "num_epochs"), "protocol.PROTOCOL.epochs={}"),
    **dict.fromkeys(("lr", "learning_rate"), "protocol.PROTOCOL.learning_rates=[{}]"),
    **dict.fromkeys(("k", "knn_k", "knn.k"), "protocol=knn protocol.knn.k={}"),
}
_WORDS = {"train": _OF_TRAIN, "evaluate": _OF_EVALUATE}

# The Hydra template's `model`: the method, with its network and its optimizer.
_PARTS_OF_MODEL = {"net": "backbone", "optimizer": "optimizer", "scheduler": "scheduler"}
# Options that such groups have in other tools, and what to type instead.
_OPTIONS = {
    "debug": {
        **dict.fromkeys(("fdr", "fast_dev_run"), "debug=fast"),
        **dict.fromkeys(("default", "true"), "debug=fast, limit, overfit or profile"),
        "profiler": "debug=profile",
    },
    "trainer": {
        **{name: f"trainer.accelerator={name}" for name in ("cpu", "gpu", "mps")},
        "ddp": "strategy=ddp devices=N",
        "ddp_sim": "strategy=ddp devices=2 trainer.accelerator=cpu",
    },
    "logger": {
        **{
            name.lower(): f"+logger.x._target_=pytorch_lightning.loggers.{name}Logger"
            for name in ("Comet", "MLFlow", "Neptune")
        },
        "many_loggers": "logger=[wandb,tensorboard]",
        **dict.fromkeys(("none", "false"), "logger=csv, which every run writes"),
    },
    "callbacks": {
        "model_summary": "trainer.enable_model_summary=true",
        "rich_progress_bar": "callbacks=default, which has a bar",
    },
    "experiment": {"example": "experiment=simclr_quick"},
}

# Arguments of Lightning's Trainer that the run sets itself, and what to use instead.
_OWN = {
    "callbacks": "callbacks=",
    "logger": "logger=",
    "limit_val_batches": "monitor.every_n_epochs= or callbacks=none, since the monitors score val",
    "check_val_every_n_epoch": "monitor.every_n_epochs=",
    "val_check_interval": "monitor.every_n_epochs=",
    "num_sanity_val_steps": "trainer.fast_dev_run=true, which tries everything",
    "enable_checkpointing": "save_every_n_minutes=",
    "use_distributed_sampler": "dataset= and batch_size=, since the loaders shard themselves",
}
_KNOB = re.compile(r"\$\{([\w.]+)\}")
_REMOVABLE = ("logger", "experiment", "ablation", "debug")


def check_words(args: Iterable[str], program: str = "train") -> None:
    """Refuse a key of the command line that has another name here, and name it.

    Args:
        args: The command line.
        program: "train" or "evaluate".

    Raises:
        UserError: Naming both.
    """
    for arg in args:
        key, equals, value = arg.lstrip("+").partition("=")
        if equals:
            _check_option(key, value)
        if key.startswith("~"):
            _check_removed(key[1:], program)
        elif equals and (fix := meant(program, key, value)):
            raise UserError(f"{key} is not a key here: {fix}")
        elif equals and program == "train":
            _check_moved(key, value)


def check_trainer(cfg: DictConfig) -> None:
    """Refuse a config that sets an argument of Lightning which a knob sets, as a recipe's file may.

    Args:
        cfg: As composed from conf/train.yaml, not resolved.

    Raises:
        UserError: Naming the knob.
    """
    node: Any = OmegaConf.to_container(cfg.trainer, resolve=False)
    for name, default in read_option("trainer", "default").items():
        if name not in node:
            raise UserError(f"trainer.{name} is missing: its default is {_yaml(default)}")
        knob = _knob_in(default)
        if knob and node[name] != default and cfg.trainer[name] != OmegaConf.select(cfg, knob):
            raise UserError(f"trainer.{name} has its value from {knob}: set {knob} instead")


def meant(program: str, key: str, value: str) -> str | None:
    """What to do about another tool's word, as in "give optimizer.lr=0.1"; None if it is not one.

    Args:
        program: "train" or "evaluate".
        key: As typed.
        value: As typed.
    """
    ours = _meant(key, value, program)
    if ours is None:
        return None
    return ours.removeprefix(_NOTHING) if ours.startswith(_NOTHING) else f"give {ours}"


def _meant(key: str, value: str, program: str) -> str | None:
    """What to type for another tool's word; None if it is not in the table."""
    if key == "data" and value not in options_of("data"):
        is_path = "/" in value or value.startswith((".", "~"))
        return f"dataset=folder dataset.root={value}" if is_path else f"dataset={value}"
    ours = _WORDS[program].get(key)
    if ours is None and key.startswith("model.") and program == "train":
        part, _, name = key.removeprefix("model.").partition(".")
        ours = ".".join(filter(None, [_PARTS_OF_MODEL.get(part, f"method.{part}"), name])) + "={}"
    if ours == "_rate":
        return f"optimizer.base_lr={value}, for 256 images, or optimizer.lr={value}, for the batch"
    if ours == "_init":
        given = value.lower() not in ("true", "1", "yes", "imagenet", "false", "0", "no")
        named = "init=torchvision:NAME, timm:NAME, a run folder or a file"
        return f"init={value}" if given else f"{named}; without it weights are random"
    if ours == "_model":
        return _model(value)
    if ours == "backbone={}" and value not in options_of("backbone"):
        return f"backbone=torchvision or backbone=timm, and backbone.name={value}"
    return None if ours is None else ours.replace("{}", value)


def _model(values: str) -> str:
    value = values.split(",")[0]
    if value in options_of("backbone"):
        return f"backbone={values}"
    if value in options_of("method"):
        return f"method={values}"
    return f"method=, one of {', '.join(options_of('method'))}, or backbone="


def _check_option(group: str, values: str) -> None:
    """Refuse an option that such a group has in other tools."""
    for value in values.strip("[]").split(","):
        answer = _OPTIONS.get(group, {}).get(value.lower())
        if answer and value not in options_of(group) and not _installed(answer):
            raise UserError(f"{group}={value} is not an option here: give {answer}")


def _installed(answer: str) -> bool:
    """Whether an answer is to install a plugin of Hydra that is there already."""
    plugin = answer.removeprefix("pip install ").replace("-", "_")
    there = answer != plugin and find_spec("hydra_plugins")
    return bool(there and find_spec(f"hydra_plugins.{plugin}"))


def beside(group: str, option: str) -> str:
    """How to choose an option of a group that takes several, beside those that stand there."""
    return f"{group}=[default,{option}]" if group == "callbacks" else f"{group}={option}"


def _check_removed(key: str, program: str) -> None:
    """Refuse to remove what every run needs: a group, a knob, or a knob of a part."""
    name = key.partition("=")[0]
    group, _, rest = name.partition(".")
    groups = {*groups_of(program)} - {*LISTS, "trainer"}  # whose arguments check_trainer sees
    if rest and "." not in rest and group in groups:
        raise UserError(f"~{name} would leave {rest} to a default: give {name}=VALUE")
    if name in {*read_option("", program), *groups_of(program)} - set(_REMOVABLE):
        raise UserError(f"~{name}: every run needs {name}, give {name}=... another value")


def _check_moved(key: str, value: str) -> None:
    group, _, name = key.partition(".")
    if group == "trainer" and name in _OWN:
        raise UserError(f"{key} is given by the run: remove it, and choose {_OWN[name]}")
    if group == "trainer" and (knob := _knob_of_trainer(name)):
        raise UserError(f"{key} has its value from {knob}: give {knob}={value}")
    if group == "logger" and name.split(".")[0] not in options_of("logger"):
        keys = [f"logger.{option}.{name}" for option in _loggers_with(name)]
        if keys:
            raise UserError(f"{key} has moved: give {' or '.join(keys)}={value}")


def _knob_of_trainer(name: str) -> str | None:
    """The knob that feeds an argument of Lightning's Trainer; None where it is Lightning's own."""
    return _knob_in(read_option("trainer", "default").get(name))


def _knob_in(default: Any) -> str | None:
    """The knob that a default takes its value from; None where it has a value."""
    knob = _KNOB.fullmatch(str(default))
    return knob.group(1) if knob else None


def _loggers_with(name: str) -> list[str]:
    return [option for option in options_of("logger") if name in read_option("logger", option)]


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value).split("\n")[0]
