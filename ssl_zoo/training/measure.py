"""What a run is and takes, from a few of its steps, none of which is kept.

`python -m ssl_zoo.training.measure FOLDER TIME [contents]`, where FOLDER holds a job.yaml, and is
given the measured.json and the images.txt; TIME is when this was started, by the clock.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
from itertools import pairwise
from pathlib import Path
from statistics import mean
from time import perf_counter, time
from typing import Any

import torch
from omegaconf import OmegaConf
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from torch.optim import Optimizer

from ssl_zoo.callbacks import CleanFeatures
from ssl_zoo.callbacks.due import epoch_due, stepped
from ssl_zoo.config import instantiate, naming_knobs, register_resolvers
from ssl_zoo.console import quiet_lightning
from ssl_zoo.data import DataModule
from ssl_zoo.data.contents import contents
from ssl_zoo.hardware import keep_freed_memory
from ssl_zoo.launched import end_with_launcher
from ssl_zoo.methods import Method
from ssl_zoo.metric_names import VAL
from ssl_zoo.training.build import build_callbacks, build_method, build_trainer, refusals
from ssl_zoo.training.facts import run_facts
from ssl_zoo.training.frozen import Job, known_to_hydra
from ssl_zoo.training.report import save_first_views, save_last_figures, start_of
from ssl_zoo.training.steps import count_steps, rhythm_of
from ssl_zoo.training.tried import thrown_away
from ssl_zoo.types import UserError
from ssl_zoo.writing import write_text

PROGRAM = "ssl_zoo.training.measure"
MEASURED, IMAGES = "measured.json", "images.txt"
_STEPS = 6  # of an epoch; of at least two epochs


class StepTimes(Callback):
    """When each epoch began and its steps ended, and how often val was scored in between.

    Args:
        every: Epochs from one scoring of val to the next.
    """

    def __init__(self, every: int) -> None:
        self.every, self.scored = every, 1  # before the first step
        self.epochs: list[list[float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs.append([self._now(pl_module)])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if stepped(trainer, batch_idx):
            self.epochs[-1].append(self._now(pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.scored += epoch_due(trainer, self.every)

    @staticmethod
    def _now(module: LightningModule) -> float:
        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)
        return perf_counter()

    @property
    def seconds(self) -> float:
        """Of the steps."""
        return sum(times[-1] - times[0] for times in self.epochs)

    def seconds_per_step(self, steps_per_epoch: int) -> float:
        """With a step's share of an epoch's start, which takes long where epochs are short.

        The first step of the first epoch warms up.

        Args:
            steps_per_epoch: Of the run.
        """
        first = mean(times[1] - times[0] for times in self.epochs[1:])
        others = [b - a for times in self.epochs for a, b in pairwise(times[1:])]
        step = mean(others) if others else first
        return step + max(0.0, first - step) / steps_per_epoch


def measure(job: Job, begun: float, look: bool) -> dict[str, Any]:
    """Take a few steps of a run, with its monitors and its pictures.

    Args:
        job: Of the whole run.
        begun: When this process was started, by `time`.
        look: Whether to hash the images' contents too.
    """
    config = job.config
    seed_everything(config["seed"], workers=False, verbose=False)
    data: DataModule = instantiate(OmegaConf.create(config).data)
    config["trainer"]["fast_dev_run"] = _STEPS * int(config["trainer"]["accumulate_grad_batches"])
    with thrown_away(config) as (elsewhere, folder):
        cfg = OmegaConf.create(elsewhere)
        method: Method = build_method(cfg, data, init=cfg.get("init"))
        clock = StepTimes(config["monitor"]["every_n_epochs"])
        features = CleanFeatures(config["monitor"]["bank_size"])
        trainer = build_trainer(cfg, [], [clock, *build_callbacks(cfg, features, folder)])
        lengths = _lengths(job, data)
        # Lightning's fast_dev_run has one epoch
        trainer.fit_loop.max_epochs = max(2, math.ceil(_STEPS / lengths["steps_per_epoch"]))
        trainer.fit_loop.epoch_loop.max_steps = -1
        facts = run_facts(data, method, trainer, job.shown)
        save_first_views(data, folder)
        fit = time()
        with refusals():
            trainer.fit(method, datamodule=data)
        fit = time() - fit
        rhythm = rhythm_of(data.num_batches, data.batch_size, config["trainer"])
        save_last_figures(data, folder, features.latest_val, rhythm, start_of(config))
    names = ("parameters", "backbone_parameters", "device", "labelled", "val", "data_sha")
    found = lengths | {name: facts[name] for name in names}
    found |= {
        "seconds_per_step": clock.seconds_per_step(lengths["steps_per_epoch"]),
        "overhead_seconds": time() - begun - fit,
        "monitor_seconds": (fit - clock.seconds) / clock.scored,
        "checkpoint_bytes": _bytes(method, trainer.optimizers),
        "on_val": sorted(one for one in trainer.callback_metrics if one.startswith(VAL)),
    }
    return found | ({"data": contents(data)} if look else {})


def _lengths(job: Job, data: DataModule) -> dict[str, Any]:
    """How much the run is, in steps, source images, views and pixels."""
    limits = job.config["trainer"] | {"fast_dev_run": 0}
    per_epoch, steps = count_steps(data.num_batches, limits)
    views = [view.shape[-1] for view in _views(data)]
    images = steps * data.batch_size
    return {
        "steps": steps,
        "steps_per_epoch": per_epoch,
        "images": images,
        "views": images * len(views),
        "pixels": images * sum(side * side for side in views),
        "folds": len(data.class_split.folds) if data.class_split else 0,
    }


def _views(data: DataModule) -> list[torch.Tensor]:
    raw = next(iter(data.train_dataloader()))
    return list(data.transfer_batch_to_device(raw, torch.device("cpu"), 0).views)


def _bytes(method: Method, optimizers: list[Optimizer]) -> int:
    """Of a checkpoint: weights and buffers, and what the optimizers remember of each."""
    states = [
        value for one in optimizers for state in one.state.values() for value in state.values()
    ]
    tensors = [*method.state_dict().values(), *states]
    return sum(one.numel() * one.element_size() for one in tensors if isinstance(one, torch.Tensor))


def main(place: Path, begun: float, look: bool) -> int:
    """Measure, write what was found, and return the exit code."""
    end_with_launcher()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)
    job = Job.read(place)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ssl_zoo").setLevel(job.log_level)
    quiet_lightning()
    keep_freed_memory()
    register_resolvers()
    with known_to_hydra(job), naming_knobs(job.composed, job.overrides):
        found = measure(job, begun, look)
    if listing := found.get("data", {}).pop("listing", None):
        write_text(place / IMAGES, listing)
    write_text(place / MEASURED, json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    _, place, begun, *look = sys.argv
    try:
        sys.exit(main(Path(place), float(begun), "contents" in look))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
