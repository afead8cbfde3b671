"""The base of all methods: views in, loss out, and one update after each optimizer step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_zoo.methods import checks
from ssl_zoo.metric_names import of_training
from ssl_zoo.modules import Encoder
from ssl_zoo.types import Embeddings, Facts, MultiViewBatch, StepOutput


class Method(LightningModule, ABC):
    """Views in, loss out.

    A subclass is final: it builds its parts, and defines `embed` and `objective`, which together
    are `step`. None of them needs a trainer or logs, so that they work in a bare loop.

    Args:
        optimizer: Factory, `optimizer(param_groups)`; not needed in a bare loop.
        scheduler: Factory, `scheduler(optimizer, total_steps=...)`, stepped with the optimizer.
        facts: What only the data and the run know; passed on to the parts that need it.
        scored_on: What the method is scored on, representation or embedding.
        loss_weight: Multiplies the loss, and with it all gradients. Only what an optimizer does not
            adapt notices: under LARS norms and biases, under SGD everything.

    Raises:
        BadValue: If the weight is not above 0, or there is no such output.

    Attributes:
        takes: The kind of loss.
        takes_sizes: Whether views may be of several sizes, the largest first (multi-crop).
        encoder: Backbone and projector; `encoder(view)` is (h, z).
        checkpoint_extras: Plain data that is saved beside the weights (config, preprocessing).
    """

    takes: type[nn.Module] = nn.Module
    takes_sizes = False
    encoder: Encoder

    def __init__(
        self,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        facts: Facts = Facts(),
        scored_on: str = "representation",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.loss_weight = checks.check_loss_weight(loss_weight)
        self.facts, self.scored_on = facts, checks.check_scored_on(scored_on)
        self._optimizer_factory, self._scheduler_factory = optimizer, scheduler
        self.checkpoint_extras: dict[str, Any] = {}

    def forward(self, images: Tensor) -> Tensor:
        """The representation of images: (N, C, H, W) -> (N, num_features)."""
        return self.encoder.backbone(images)  # type: ignore[no-any-return]

    def takes_views(self, n: int) -> bool:
        """Whether a step takes this number of an image's views, not counting small ones."""
        return n == 2

    @abstractmethod
    def embed(self, views: list[Tensor]) -> Embeddings:
        """All forward passes, the online branch's and the target's.

        Only batch norm makes an image's embeddings depend on the others of the batch.
        """

    @abstractmethod
    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        """Dictionary and loss, over the embeddings of a batch of images.

        Args:
            embeddings: Their output of `embed`.
            index: (N,) position of each image in the training split.
            label: (N,), -1 = unlabelled; read by supervised methods only.
        """

    @final
    def step(self, batch: MultiViewBatch) -> StepOutput:
        """Loss, times `loss_weight`, and outputs for one micro-batch."""
        passes = checks.check_embeddings(self.embed(batch.views))
        return checks.weighted(self.objective(passes, batch.index, batch.label), self.loss_weight)

    def before_step(self, progress: float) -> None:
        """Limits gradients, once before each optimizer step; `progress` as in `update`."""

    def update(self, progress: float) -> None:
        """Updates what changes with the optimizer step: momentum encoder, dictionary.

        Args:
            progress: Optimizer steps completed before this one / all of them (BYOL's k / K).
        """

    def param_groups(self) -> list[dict[str, Any]]:
        """Groups {name, params, constant_lr} of what the optimizer trains.

        A group may also have `lr_multiplier` and `final_weight_decay`, see `build_optimizer`.
        """
        params = [p for p in self.parameters() if p.requires_grad]
        return [{"name": "all", "params": params, "constant_lr": False}]

    def training_step(self, batch: MultiViewBatch, batch_idx: int) -> dict[str, Any]:
        output = checks.check_output(self.step(batch), len(batch.index))
        logged = {"loss": output.loss.detach(), **output.metrics}
        for name, value in logged.items():
            self.log(of_training(name), value, batch_size=len(batch.index))
        return {**output._asdict(), "logged": logged}  # Lightning divides its loss by `accumulate`

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.before_step(self.trainer.global_step / self._total_steps())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        steps_before = self.trainer.global_step
        super().optimizer_step(*args, **kwargs)
        self.update(steps_before / self._total_steps())

    def configure_optimizers(self) -> Any:
        assert self._optimizer_factory is not None, "a Trainer needs an optimizer factory"
        optimizer = checks.built("optimizer", self._optimizer_factory, self.param_groups())
        if self._scheduler_factory is None:
            return optimizer
        steps = self._total_steps()
        scheduler = checks.built("scheduler", self._scheduler_factory, optimizer, total_steps=steps)
        by_step = {"scheduler": scheduler, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": by_step}

    def _total_steps(self) -> int:
        if self.facts.total_steps is not None:
            return self.facts.total_steps
        # not read earlier: it sets the loader up, before a resume restores the loader's state
        return int(self.trainer.estimated_stepping_batches)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.setdefault("ssl_zoo", {}).update(self.checkpoint_extras)

    @property
    def num_features(self) -> int:
        """Width of the representation."""
        return int(self.encoder.backbone.num_features)  # type: ignore[arg-type]
