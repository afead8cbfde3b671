"""Supervised metric learning, as in Musgrave et al. 2020, "A Metric Learning Reality Check"."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_zoo.distributed import all_gather
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import built
from ssl_zoo.modules import Encoder
from ssl_zoo.types import BadValue, Embeddings, StepOutput, UserError

_TUPLES = {3: {"triplets": 0}, 4: {"positive_pairs": 0, "negative_pairs": 2}}


@final
class MetricLearning(Method):
    """Images of a class attract each other and repel those of other classes; labels are needed.

    The embeddings of all ranks are gathered with their gradient, so that the loss and the miner see
    the global micro-batch. Unlabelled images take no part.

    Args:
        backbone: The trunk, (N, C, H, W) -> (N, num_features).
        projector: The embedder, factory `projector(in_dim=...)`; linear, to 128 dimensions, in the
            paper.
        loss: A loss of pytorch-metric-learning, `loss(embeddings, labels, tuples)`; or a factory
            `loss(num_classes=..., embedding_size=...)` of one that owns proxies or class weights.
        miner: `miner(embeddings, labels)` returns triplets (anchor, positive, negative) or pairs
            (a1, p, a2, n) that the loss takes; `AllTuples` = no miner.
        freeze_batchnorm: Keep the backbone's batch norms in eval mode: their statistics stay, their
            weights learn. For pretrained backbones.
        lr_multipliers: Factors on the learning rates of `backbone` and `embedder`.
        **shared: What every method takes, see `Method`; `facts` with `num_classes` among it.

    Raises:
        UserError: If there are no labels, the loss refuses a knob, or a multiplier is below 0 or of
            an unknown part.

    Source: Musgrave et al. 2020, sec. 3.1. Embeddings are L2-normalised in the loss and where they
    are scored.
    """

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
        if self.facts.num_classes == 0:
            raise UserError(
                "MetricLearning needs labels, but these images have none: give each class a "
                "folder, or choose a method without labels"
            )
        check_numbers("loss", loss)
        check_numbers("miner", miner)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim, classes = self.encoder.projector.out_dim, self.facts.num_classes
        if not isinstance(loss, nn.Module):
            loss = built("loss", loss, num_classes=classes, embedding_size=dim)
        self.loss: Any = loss
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
        # Lightning warns of modules in eval mode: here they are intended
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")

    def takes_views(self, n: int) -> bool:
        return n == 1

    def embed(self, views: list[Tensor]) -> Embeddings:
        (view,) = views
        h, z = self.encoder(view)
        return Embeddings(h.detach(), online=[z], target={}, prediction=[])

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        (z,) = embeddings.online
        unit = all_gather(functional.normalize(at_least_float32(z), dim=1))
        labels = all_gather(label)
        labelled = labels >= 0
        unit, labels = unit[labelled], labels[labelled]
        # the losses would permanently cast their weights to the embeddings' type
        with torch.autocast(z.device.type, enabled=False):
            tuples = self.miner(unit, labels)
            loss: Tensor = self.loss(unit, labels, tuples)
        metrics = {}
        for name, place in _TUPLES[len(tuples)].items() if tuples is not None else ():
            metrics[name] = unit.new_tensor(len(tuples[place]))
        return StepOutput(loss, embeddings.representation, z.detach(), metrics)

    def param_groups(self) -> list[dict[str, Any]]:
        """Groups `backbone` and `embedder`, and `loss`, whose rate no schedule changes."""
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
            raise UserError(f"lr_multipliers.{name}: there are only backbone and embedder")
        if not isinstance(value, int | float) or value < 0:
            raise BadValue(f"lr_multipliers.{name}", value, "a number of at least 0")


def check_numbers(name: str, part: nn.Module | Callable[..., nn.Module]) -> None:
    """Refuse a string where a part of pytorch-metric-learning needs a number.

    The library accepts it, and fails in the first step.

    Args:
        name: The argument that the part fills.
        part: A loss or miner, or the partial of one.

    Raises:
        BadValue: Naming the number.
    """
    made = isinstance(part, nn.Module)
    kind = type(part) if made else getattr(part, "func", part)
    values = vars(part) if made else getattr(part, "keywords", {})
    for argument, default in _defaults(kind).items():
        value = values.get(argument)
        if isinstance(value, str) and not isinstance(default, str):
            raise BadValue(f"{name}.{argument}", value, "a number")


def _defaults(kind: Any) -> dict[str, Any]:
    """The defaults of a class's arguments, including those that it passes to its bases."""
    found: dict[str, Any] = {}
    for base in reversed(getattr(kind, "__mro__", ())):
        parameters = inspect.signature(base.__init__).parameters
        found |= {name: parameter.default for name, parameter in parameters.items()}
    return found
