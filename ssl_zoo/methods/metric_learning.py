"""Supervised metric learning, as in Musgrave et al. 2020, "A Metric Learning Reality Check"."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_zoo.distributed import all_gather
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.methods.base import Method, built
from ssl_zoo.modules import Encoder
from ssl_zoo.types import BadValue, MultiViewBatch, StepOutput, UserError

_TUPLES = {3: {"triplets": 0}, 4: {"positive_pairs": 0, "negative_pairs": 2}}


@final
class MetricLearning(Method):
    """Images of a class attract each other and repel those of other classes, by their labels.

    The embeddings of all ranks are gathered with their gradient, so that the loss and the miner see
    the global micro-batch. Unlabelled images take no part.

    Args:
        backbone: The trunk, (N, C, H, W) -> (N, num_features).
        projector: The embedder, factory `projector(in_dim=...)`; linear, to 128 dimensions, in the
            paper.
        loss: A loss of pytorch-metric-learning, `loss(embeddings, labels, tuples)`; or a factory
            `loss(num_classes=..., embedding_size=...)` of one that owns proxies or class weights.
        miner: `miner(embeddings, labels)` returns triplets (anchor, positive, negative) or pairs
            (a1, p, a2, n) that the loss takes; `AllTuples` for none.
        freeze_batchnorm: Keep the backbone's batch norms in eval mode: their statistics stay, their
            weights learn. For pretrained backbones.
        lr_multipliers: Of the learning rate of `backbone` and `embedder`.
        **shared: What every method takes, see `Method`; `num_classes` among it.

    Raises:
        UserError: If there are no labels, the loss refuses a knob, or a multiplier is below 0 or of
            an unknown part.

    Source: Musgrave et al. 2020, sec. 3.1. Embeddings are L2-normalised in the loss and where they
    are scored.
    """

    num_views = 1
    scored_on = "embedding"

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        loss: nn.Module | Callable[..., nn.Module],
        miner: nn.Module,
        freeze_batchnorm: bool = False,
        lr_multipliers: Mapping[str, float] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if self.num_classes == 0:
            raise UserError("method=metric_learning needs labels, but these images have none")
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        sizes = {"num_classes": self.num_classes, "embedding_size": self.encoder.projector.out_dim}
        made = isinstance(loss, nn.Module)
        self.loss: Any = loss if made else built("method.metric_loss", loss, **sizes)
        self.miner = miner
        self.freeze_batchnorm = freeze_batchnorm
        self.lr_multipliers = {"backbone": 1.0, "embedder": 1.0} | dict(lr_multipliers or {})
        _check_multipliers(self.lr_multipliers)
        self.train()

    def train(self, mode: bool = True) -> MetricLearning:
        super().train(mode)
        if self.freeze_batchnorm:
            for module in self.encoder.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def on_fit_start(self) -> None:
        # Lightning asks whether modules in eval mode are meant to be: these are
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")

    def step(self, batch: MultiViewBatch) -> StepOutput:
        (view,) = batch.views
        h, z = self.encoder(view)
        embeddings = all_gather(functional.normalize(at_least_float32(z), dim=1))
        labels = all_gather(batch.label)
        labelled = labels >= 0
        embeddings, labels = embeddings[labelled], labels[labelled]
        # the losses would cast their weights to the embeddings' type, for good
        with torch.autocast(z.device.type, enabled=False):
            tuples = self.miner(embeddings, labels)
            loss: Tensor = self.loss(embeddings, labels, tuples)
        metrics = {}
        for name, place in _TUPLES[len(tuples)].items() if tuples is not None else ():
            metrics[name] = embeddings.new_tensor(len(tuples[place]))
        return StepOutput(loss, h.detach(), z.detach(), metrics)

    def param_groups(self) -> list[dict[str, Any]]:
        """Groups `backbone` and `embedder`, and `loss`, whose rate no schedule moves."""
        parts = {"backbone": self.encoder.backbone, "embedder": self.encoder.projector}
        groups: list[dict[str, Any]] = [
            {"name": name, "params": _trained(part), "constant_lr": False}
            | {"lr_multiplier": self.lr_multipliers[name]}
            for name, part in parts.items()
        ]
        groups.append({"name": "loss", "params": _trained(self.loss), "constant_lr": True})
        return [group for group in groups if group["params"]]


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _check_multipliers(multipliers: Mapping[str, float]) -> None:
    for name, value in multipliers.items():
        if name not in ("backbone", "embedder"):
            raise UserError(f"method.lr_multipliers.{name}: there are backbone and embedder alone")
        if not isinstance(value, int | float) or value < 0:
            raise UserError(f"method.lr_multipliers.{name}={value}: give a number of at least 0")


def check_numbers(slots: Mapping[str, Any]) -> None:
    """Refuse a text where a loss or miner of pytorch-metric-learning computes with a number.

    The library's classes would take it, and fail at the first batch.

    Args:
        slots: By name the settings of the parts, `metric_loss` and `miner` among them or not.

    Raises:
        BadValue: Naming the slot and its argument.
    """
    for slot in ("metric_loss", "miner"):
        for key, value in (slots.get(slot) or {}).items():
            if isinstance(value, str) and not key.startswith("_") and "strategy" not in key:
                raise BadValue(f"{slot}.{key}", value, "a number")
