"""InstDisc: Wu et al. 2018, "Unsupervised Feature Learning via Instance Discrimination"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import Tensor, nn

from ssl_zoo.distributed import global_mean
from ssl_zoo.losses import ContrastiveLoss
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import build_loss
from ssl_zoo.modules import Encoder, MemoryBank, Negatives
from ssl_zoo.types import BadValue, Embeddings, StepOutput, UserError


@final
class InstDisc(Method):
    """Each image is a class of its own, whose weight vector is its slot of a memory bank.

    Args:
        backbone: (N, C, H, W) -> (N, num_features).
        projector: Factory `projector(in_dim=...)`; linear, to 128 dimensions, in the paper.
        negatives: The memory bank, factory `negatives(dim=..., facts=...)`.
        loss: `loss(pos, neg)`, or a factory `loss(facts=...)`: NCE; InfoNCE over all other
            slots is the full non-parametric softmax.
        proximal_weight: lambda of the proximal term lambda |v_i - f_i|^2, absent from the official
            code, where the bank's momentum smooths.
        **shared: What every method takes, see `Method`; `facts` with `num_images` among it.

    Raises:
        UserError: If the dictionary is not a memory bank, or the weight is below 0.

    Source: Wu et al. 2018, sec. 3. MoCo's memory-bank variant (He et al. 2020, fig. 2b) is this
    with InfoNCE over drawn slots.
    """

    takes = ContrastiveLoss

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        negatives: Callable[..., Negatives],
        loss: nn.Module | Callable[..., nn.Module],
        proximal_weight: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        bank = negatives(dim=self.encoder.projector.out_dim, facts=self.facts)
        if not isinstance(bank, MemoryBank):
            raise UserError(
                f"InstDisc takes a memory bank, not {type(bank).__name__}: choose other negatives"
            )
        if proximal_weight < 0:
            raise BadValue("proximal_weight", proximal_weight, "at least 0")
        self.negatives: Negatives = bank
        self.loss = build_loss(self, loss)
        self.proximal_weight = proximal_weight

    def takes_views(self, n: int) -> bool:
        return n == 1

    def embed(self, views: list[Tensor]) -> Embeddings:
        (view,) = views
        h, f = self.encoder(view)
        return Embeddings(h.detach(), online=[f], target={}, prediction=[])

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        (f,) = embeddings.online
        pos, neg = self.negatives.negatives(query=f, key=f, index=index)
        loss = self.loss(pos=pos, neg=neg)
        metrics: dict[str, Tensor] = {"own_slot_cosine": pos.mean().detach()}
        if self.proximal_weight:
            proximal = global_mean((2 - 2 * pos).sum(), len(pos))  # |v_i - f_i|^2 of unit vectors
            loss = loss + self.proximal_weight * proximal
        self.negatives.push(f, index)
        return StepOutput(loss, embeddings.representation, f.detach(), metrics)

    def update(self, progress: float) -> None:
        self.negatives.update()
