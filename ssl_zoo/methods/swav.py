"""SwAV: Caron et al. 2020, "Unsupervised Learning by Contrasting Cluster Assignments"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_zoo.hardware import at_least_float32
from ssl_zoo.losses import swapped_prediction
from ssl_zoo.losses.checks import check_temperature
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import by_size
from ssl_zoo.modules import Assignment, EmbeddingQueue, Encoder, Prototypes
from ssl_zoo.types import Embeddings, StepOutput, check_whole


@final
class SwAV(Method):
    """A view predicts another one's code: its assignment to prototypes, which all are used equally.

    Args:
        backbone: f, (N, C, H, W) -> (N, num_features).
        projector: g, factory `projector(in_dim=...)`.
        prototypes: C, factory `prototypes(dim=..., facts=...)`.
        assignment: Codes of scores, `assignment(scores)`; Sinkhorn in the paper.
        queue: Past embeddings that are assigned with the batch, factory
            `queue(dim=..., num_views=..., facts=...)`.
        temperature: tau, of the predictions.
        num_targets: The first views, of the large ones, have a code, which all others predict.
        **shared: What every method takes, see `Method`.

    Raises:
        UserError: If the temperature is not above 0, or no view has a code.

    Source: Caron et al. 2020, algorithm 1 and the official code: the projector sees all views at
    once, the backbone those of one size.
    """

    takes_sizes = True

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        prototypes: Callable[..., Prototypes],
        assignment: Assignment,
        queue: Callable[..., EmbeddingQueue],
        temperature: float = 0.1,
        num_targets: int = 2,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim = self.encoder.projector.out_dim
        self.prototypes: Prototypes = prototypes(dim=dim, facts=self.facts)
        self.assignment = assignment
        check_whole("num_targets", num_targets)
        self.num_targets = num_targets
        self.queue: EmbeddingQueue = queue(dim=dim, num_views=num_targets, facts=self.facts)
        self.temperature = check_temperature(temperature)

    def takes_views(self, n: int) -> bool:
        return n >= max(2, self.num_targets)

    def embed(self, views: list[Tensor]) -> Embeddings:
        h, z = self.encoder(*by_size(views))
        online = list(z.chunk(len(views)))
        target = {view: online[view].detach() for view in range(self.num_targets)}
        return Embeddings(h[: len(online[0])].detach(), online, target, prediction=[])

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        z = functional.normalize(at_least_float32(torch.stack(embeddings.online)), dim=2)
        self.prototypes.normalize()
        scores = self.prototypes(z)
        codes = {view: self._code(view, scores[view]) for view in embeddings.target}
        self.queue.push(z[list(codes)])
        loss = swapped_prediction(scores, codes, self.temperature)
        return StepOutput(loss, embeddings.representation, embeddings.online[0].detach(), {})

    @torch.no_grad()
    def _code(self, view: int, scores: Tensor) -> Tensor:
        """Of a view's scores, beside which those of the queue are assigned too."""
        past = self.prototypes(self.queue.past(view))
        codes: Tensor = self.assignment(torch.cat([past.to(scores.dtype), scores]))
        return codes[len(past) :]

    def before_step(self, progress: float) -> None:
        self.prototypes.before_step()

    def update(self, progress: float) -> None:
        self.prototypes.update()
        self.queue.update()
