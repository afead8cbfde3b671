"""What every method is: views in, loss out, and one update after each optimizer step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_zoo.modules import Encoder
from ssl_zoo.types import Facts, MultiViewBatch, StepOutput, UserError

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]


def build_loss(
    loss: nn.Module | Callable[..., nn.Module],
    kind: type[nn.Module],
    method: str,
    num_images: int | None,
) -> nn.Module:
    """The loss, where it is of the kind that the method takes.

    Args:
        loss: A loss, or a factory `loss(num_images=...)` (NCE).
        kind: What the method takes.
        method: Its name.
        num_images: Size of the training split.

    Raises:
        UserError: If it is of another kind.
    """
    made = loss if isinstance(loss, nn.Module) else loss(num_images=num_images)
    if not isinstance(made, kind):
        wanted, given = kind.__name__.removesuffix("Loss").lower(), type(made).__name__
        raise UserError(f"{method} takes a {wanted} loss, not {given}: see method/loss")
    return made


def built(place: str, factory: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a factory makes; a value that it refuses is told with its config group."""
    try:
        return factory(*args, **kwargs)
    except UserError:
        raise
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{place}: {error}") from error


def check_cosines(loss: nn.Module, negatives: nn.Module) -> None:
    """Refuse a loss that measures distances of unit vectors where similarities are dot products.

    Raises:
        UserError: Naming the loss.
    """
    if getattr(loss, "needs_cosines", False) and not getattr(negatives, "normalize", True):
        raise UserError(
            f"{type(loss).__name__} measures distances of unit vectors: set "
            "method.negatives.normalize=true"
        )


class Method(LightningModule, ABC):
    """Views in, loss out.

    A subclass is final: it builds its parts, and defines `step`. `step` needs no trainer and logs
    nothing, so that it works in a bare loop.

    Args:
        optimizer: Factory, `optimizer(param_groups)`; not needed in a bare loop.
        scheduler: Factory, `scheduler(optimizer, total_steps=...)`, stepped with the optimizer.
        num_images: Size of the training split; a memory bank and NCE need it.
        steps_per_epoch: Optimizer steps; a target that moves with the epoch needs it.
        num_classes: Of the training split, 0 = unlabelled; losses with class weights need it.
        total_steps: Optimizer steps of the whole run; None = as a Trainer estimates them.

    Attributes:
        num_views: Views of each image that a step takes.
        scored_on: What the method is scored on, representation or embedding.
        encoder: Backbone and projector; `encoder(view)` is (h, z).
        checkpoint_extras: Plain data that is saved beside the weights (config, preprocessing).
    """

    num_views = 2
    scored_on = "representation"
    encoder: Encoder

    def __init__(
        self,
        optimizer: OptimizerFactory | None = None,
        scheduler: Callable[..., Any] | None = None,
        num_images: int | None = None,
        steps_per_epoch: int | None = None,
        num_classes: int | None = None,
        total_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.facts = Facts(num_images, num_classes, steps_per_epoch, total_steps)
        self.num_images, self.steps_per_epoch = num_images, steps_per_epoch
        self.num_classes = num_classes
        self._optimizer_factory = optimizer
        self._scheduler_factory = scheduler
        self.checkpoint_extras: dict[str, Any] = {}

    def forward(self, images: Tensor) -> Tensor:
        """The representation of images: (N, C, H, W) -> (N, num_features)."""
        representation: Tensor = self.encoder.backbone(images)
        return representation

    @abstractmethod
    def step(self, batch: MultiViewBatch) -> StepOutput:
        """Loss and outputs for one micro-batch."""

    def update(self, progress: float) -> None:
        """Moves what moves with the optimizer step: momentum encoder, dictionary.

        Args:
            progress: Optimizer steps completed before this one / all of them (BYOL's k / K).
        """

    def param_groups(self) -> list[dict[str, Any]]:
        """Groups {name, params, constant_lr} of what the optimizer trains."""
        params = [p for p in self.parameters() if p.requires_grad]
        return [{"name": "all", "params": params, "constant_lr": False}]

    def training_step(self, batch: MultiViewBatch, batch_idx: int) -> dict[str, Any]:
        output = self.step(batch)
        size = len(batch.index)
        self.log("train/loss", output.loss.detach(), batch_size=size)
        for name, value in output.metrics.items():
            self.log(f"train/{name}", value, batch_size=size)
        return output._asdict()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        steps_before = self.trainer.global_step
        super().optimizer_step(*args, **kwargs)
        self.update(steps_before / self._total_steps())

    def configure_optimizers(self) -> Any:
        assert self._optimizer_factory is not None, "a Trainer needs an optimizer factory"
        optimizer = built("optimizer", self._optimizer_factory, self.param_groups())
        if self._scheduler_factory is None:
            return optimizer
        steps = self._total_steps()
        scheduler = built("scheduler", self._scheduler_factory, optimizer, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _total_steps(self) -> int:
        if self.facts.total_steps is not None:  # MERGE: facts.total_steps is all that is needed
            return self.facts.total_steps
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None or self.trainer.max_epochs is None:
            return int(self.trainer.estimated_stepping_batches)
        # estimated_stepping_batches would set the loader up before a resume restores its state
        return int(data.steps_per_epoch * self.trainer.max_epochs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ssl_zoo"] = self.checkpoint_extras

    @property
    def num_features(self) -> int:
        """Width of the representation."""
        return int(self.encoder.backbone.num_features)  # type: ignore[arg-type]
