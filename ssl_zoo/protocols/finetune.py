"""Fine-tuning: all layers are trained, starting at the backbone, with few or all labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_zoo.console import warn
from ssl_zoo.data import DataModule
from ssl_zoo.data.loaders import CleanLoader
from ssl_zoo.evaluation import answers_of, fraction_of
from ssl_zoo.evaluation.features import Features, encode
from ssl_zoo.metric_names import TEST_TOP1, of_setting
from ssl_zoo.optim import warmup_cosine
from ssl_zoo.protocols.base import RANDOM_INIT, Protocol, check_shared_classes, listed
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.classification import COLUMNS, class_scores
from ssl_zoo.protocols.labelled_views import crop_and_flip, epochs_of, labelled_loader
from ssl_zoo.types import BadValue


class _Trained(NamedTuple):
    """A fine-tuned network, and its score on val; NaN without val."""

    network: nn.Module
    learning_rate: float
    val_top1: float
    val_loss: float


class Finetune(Protocol):
    """Backbone and a new head are trained on fractions of the labels, at a rate chosen on val.

    Nesterov SGD with momentum 0.9 and a cosine by step, random resized crop and flip, batch norm in
    train mode. The last epoch is scored; test is read once for each fraction. The choice
    among the rates uses all of val's labels, more than a small fraction has.

    Args:
        fractions: Parts of each class; smaller ones are inside larger ones.
        epochs: Epochs for each fraction, over its images.
        draw: Number of the draw; the same as in few_shot.
        learning_rates: Rates to choose from.
        batch_size: Images per step, or the whole fraction if that is less; the rate stays the same.
        weight_decay: L2, on all parameters.
        layer_decay: Layer l of L learns at the rate times this to the power L - l; the head is L.
            See `layers`.
        head_std: Standard deviation of the head's initial weights.
        crop_scale: Smallest and largest fraction of the image that a crop takes.

    Raises:
        UserError: If a number is out of bounds.

    Source: Chen et al. 2020 (SimCLR), App. B.5; Bao et al. 2022 (BEiT), for the layer decay.
    """

    floors = (RANDOM_INIT,)
    trains_backbone = True

    def __init__(
        self,
        fractions: Sequence[float],
        epochs: Sequence[int],
        draw: int,
        learning_rates: Sequence[float],
        batch_size: int,
        weight_decay: float,
        layer_decay: float,
        head_std: float,
        crop_scale: Sequence[float],
    ) -> None:
        fractions, epochs = listed(fractions, "fractions"), listed(epochs, "epochs")
        if not fractions or len(fractions) != len(epochs) or min(epochs) < 1:
            each = f"a number of at least 1 for each of fractions={fractions}"
            raise BadValue("epochs", epochs, each)
        if not listed(learning_rates, "learning_rates"):
            raise BadValue("learning_rates", [], "a list of at least one rate")
        if not 0 < layer_decay <= 1:
            raise BadValue("layer_decay", layer_decay, "above 0 and at most 1")
        self.epochs = dict(zip(fractions, epochs, strict=True))
        self.draw, self.learning_rates, self.batch_size = draw, list(learning_rates), batch_size
        self.weight_decay, self.layer_decay = weight_decay, layer_decay
        self.head_std, self.crop_scale = head_std, crop_scale

    @property
    def headline(self) -> str:
        """The first fraction."""
        return self.columns[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """The top-1 of each fraction, then the balanced top-1 of each."""
        return tuple(
            of_setting(score, f"{100 * fraction:g}pct")
            for score in COLUMNS[:2]
            for fraction in self.epochs
        )

    def check(self, data: DataModule) -> None:
        check_shared_classes(data, len(self.learning_rates))

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """For each fraction `test_top1_<n>pct` and so on, `val_top1_<n>pct`, rate and counts."""
        labels = candidate.data.train.labels
        labels = labels[labels >= 0]
        data = candidate.data
        on_val = bool(torch.isin(data.val.labels, data.train_labels).any())
        row: dict[str, Any] = {"chosen_on": "val" if on_val else None}
        for fraction, epochs in self.epochs.items():
            rows, name = fraction_of(labels, fraction, self.draw), f"{100 * fraction:g}pct"
            best, diverged = self._best(candidate, rows, epochs, name)
            logits, label = _judge(best.network, candidate.data.test_dataloader(), candidate)
            row |= class_scores(answers_of(logits, label), candidate, name)
            row |= {
                of_setting(TEST_TOP1, name): _top1(logits, label),
                f"val_top1_{name}": None if math.isnan(best.val_top1) else best.val_top1,
                f"learning_rate_{name}": best.learning_rate,
                f"num_labels_{name}": len(rows),
                f"diverged_{name}": diverged,
            }
        return row

    def _best(
        self, candidate: Candidate, rows: Tensor, epochs: int, name: str
    ) -> tuple[_Trained, list[float]]:
        """The network of the rate that is best on val, and the rates that diverged."""
        best: _Trained | None = None
        diverged = []
        with candidate.bar(f"fine-tune on {name}") as progress:
            for i, rate in enumerate(self.learning_rates):

                def advance(share: float, before: int = i) -> None:
                    progress(round(100 * (before + share)), 100 * len(self.learning_rates))

                network = self._train(candidate, rows, epochs, rate, advance)
                if network is None:
                    diverged.append(rate)
                    continue
                logits, label = _judge(network, candidate.data.val_dataloader(), candidate)
                loss = float(cross_entropy(logits, label))
                trained = _Trained(network, rate, _top1(logits, label), loss)
                if best is None or _rank(trained) > _rank(best):
                    best = trained
        if best is None:
            says = f"makes the loss of {candidate.name} infinite or NaN at every rate: lower it"
            raise BadValue("learning_rates", self.learning_rates, says=says)
        if diverged:
            warn(f"{candidate.name}: fine-tuning on {name} diverged at learning rates {diverged}")
        return best, diverged

    def _train(
        self,
        candidate: Candidate,
        rows: Tensor,
        epochs: int,
        rate: float,
        advance: Callable[[float], None],
    ) -> nn.Module | None:
        """A trained copy of the backbone with a head; None if its loss is not finite."""
        network = self._network(candidate)
        views = crop_and_flip(candidate, self.crop_scale)
        loader = labelled_loader(candidate, rows, min(self.batch_size, len(rows)), views)
        optimizer = torch.optim.SGD(
            self.param_groups(network, rate),
            momentum=0.9,
            nesterov=True,
            weight_decay=self.weight_decay,
        )
        steps = epochs * len(loader)
        schedule = warmup_cosine(optimizer, steps, warmup_epochs=0)
        precision, total = candidate.training_autocast, torch.zeros((), device=candidate.device)
        network.train()
        devices = [candidate.device] if candidate.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # for dropout, if a backbone has it
            torch.manual_seed(candidate.seed)
            for step, batch in enumerate(epochs_of(loader, views, epochs, candidate.device)):
                images = batch.images.contiguous(memory_format=torch.channels_last)
                with precision():
                    logits = network(images)
                loss = cross_entropy(logits.float(), batch.label.to(candidate.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.detach()
                if (step + 1) % len(loader) == 0:  # once per epoch, since it waits for the GPU
                    advance((step + 1) / steps)
                    if not total.isfinite():
                        return None
        return network

    def _network(self, candidate: Candidate) -> nn.Sequential:
        """A copy of the backbone, all of it trained, and a new head."""
        backbone = copy.deepcopy(candidate.backbone).float().requires_grad_(True)
        width = getattr(backbone, "num_features", None)
        if width is None:  # such as several backbones side by side
            width = candidate.features.train.representation.shape[1]
        head = nn.utils.skip_init(nn.Linear, width, candidate.data.num_train_classes)
        generator = torch.Generator().manual_seed(candidate.seed)  # the global one is not used
        nn.init.normal_(head.weight, std=self.head_std, generator=generator)
        nn.init.zeros_(head.bias)
        network = nn.Sequential(backbone, head.to(candidate.device))
        return network.to(memory_format=torch.channels_last)

    def param_groups(self, network: nn.Sequential, rate: float) -> list[dict[str, Any]]:
        """Backbone and head as one group per layer, with the layer's rate."""
        groups = [*layers(network[0]), list(network[1].parameters())]
        last = len(groups) - 1
        return [
            {"params": params, "lr": rate * self.layer_decay ** (last - layer)}
            for layer, params in enumerate(groups)
        ]


def layers(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of a backbone layer by layer, from its input on.

    timm defines the layers of its models. In others each child is a layer, and so is each child of
    an `nn.Sequential`; a child with no weight of two or more dimensions, such as a norm, belongs to
    the layer before it. So the layers of a torchvision ResNet are the stem and the residual blocks.
    """
    matcher: Any = getattr(backbone, "group_matcher", None)
    if matcher is not None:
        from timm.models import group_parameters

        number = group_parameters(backbone, matcher(coarse=False), reverse=True)
        found: dict[int, list[nn.Parameter]] = {}
        for name, parameter in backbone.named_parameters():
            found.setdefault(number[name], []).append(parameter)
        return [found[i] for i in sorted(found)]
    grouped: list[list[nn.Parameter]] = []
    for unit in _units(backbone):
        if not unit:
            continue
        if grouped and all(parameter.ndim < 2 for parameter in unit):
            grouped[-1] += unit
        else:
            grouped.append(unit)
    return grouped


def _units(module: nn.Module) -> list[list[nn.Parameter]]:
    """The module's own parameters, then those of each child, with Sequentials expanded."""
    units = [list(module.parameters(recurse=False))]
    for child in module.children():
        units += _units(child) if isinstance(child, nn.Sequential) else [list(child.parameters())]
    return units


def _judge(network: nn.Module, loader: CleanLoader, candidate: Candidate) -> Features:
    """Logits of the clean images of classes that train has, and their labels."""
    normalize, precision = candidate.preprocess.normalize, candidate.training_autocast
    logits = encode(network, loader, normalize, candidate.device, precision)
    return logits.among(candidate.data.train_labels)


def _top1(logits: Tensor, label: Tensor) -> float:
    return float((logits.argmax(dim=1) == label).float().mean())


def _rank(trained: _Trained) -> tuple[float, float]:
    """Higher is better: top-1 on val, of ties the lower loss."""
    return trained.val_top1, -trained.val_loss
