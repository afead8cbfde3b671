"""Targets: what a prediction or a query is compared with."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_zoo.console import info
from ssl_zoo.distributed import all_gather, rank
from ssl_zoo.hashing import SHUFFLE_STREAM, hash_int64
from ssl_zoo.modules.norms import SplitBatchNorm, split_norms
from ssl_zoo.ramps import half_cosine
from ssl_zoo.types import BadValue, Facts, UserError, check_number, check_whole


class Target(nn.Module, ABC):
    """`target(view, encoder, embedding=None) -> z` of a view.

    Args:
        encoder: The online encoder.
        facts: `steps_per_epoch` is for targets that move once per epoch.
    """

    def __init__(self, encoder: nn.Module, facts: Facts = Facts()) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        """The embedding of a view.

        Args:
            view: (N, C, H, W).
            encoder: The online encoder.
            embedding: The online z of the view, if the method has it already.
        """

    def update(self, encoder: nn.Module, progress: float) -> None:
        """Move after an optimizer step; `progress` = steps completed before it / all of them."""


class _OwnEncoder(Target):
    """A target with its own encoder, which starts as a copy of the online one."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)

    @torch.no_grad()
    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        z: Tensor = self.encoder(view)[1]
        return z


class Momentum(_OwnEncoder):
    """An encoder that follows the online one: theta_t <- m theta_t + (1 - m) theta.

    Only parameters follow. Norms keep their own running statistics, as in all official code,
    since the target runs in train mode.

    Args:
        encoder: The online encoder, which it starts as a copy of.
        momentum: m; 0 = a copy after each step, 1 = it never moves.
        final_momentum: m moves to this by half a cosine over the run (BYOL: 1); None = constant.
        facts: Not needed.

    Raises:
        UserError: If a momentum is outside [0, 1].

    Attributes:
        latest: m of the last update.

    Source: He et al. 2020 (MoCo), eq. 2; Grill et al. 2020 (BYOL), sec. 3.3.
    """

    def __init__(
        self,
        encoder: nn.Module,
        momentum: float = 0.99,
        final_momentum: float | None = None,
        facts: Facts = Facts(),
    ) -> None:
        super().__init__(encoder)
        last = momentum if final_momentum is None else final_momentum
        for name, value in (("momentum", momentum), ("final_momentum", last)):
            check_number(name, value, 0, 1)
        if last < momentum:
            info(
                f"momentum={momentum:g} falls to final_momentum={last:g}: the target moves ever "
                "faster, where in BYOL and MoCo v3 it comes to rest"
            )
        self.momentum, self.final_momentum = momentum, final_momentum
        self.latest = momentum

    def momentum_at(self, progress: float) -> float:
        """The momentum at a point of the run, from 0 to 1."""
        if self.final_momentum is None:
            return self.momentum
        return half_cosine(self.momentum, self.final_momentum, progress)

    @torch.no_grad()
    def update(self, encoder: nn.Module, progress: float) -> None:
        own: list[Tensor] = list(self.encoder.parameters())
        online: list[Tensor] = list(encoder.parameters())
        self.latest = self.momentum_at(progress)
        torch._foreach_lerp_(own, online, 1 - self.latest)


class Lagged(_OwnEncoder):
    """An encoder that is a copy of the online one, renewed every few steps.

    Norms keep their own running statistics, as in `Momentum`.

    Args:
        encoder: The online encoder, which it starts as a copy of.
        every: Optimizer steps between two copies; "epoch" = once per epoch.
        facts: "epoch" needs its `steps_per_epoch`.

    Raises:
        UserError: If `every` is neither, or the steps of an epoch are not known.

    Source: Chen & He 2021 (SimSiam), sec. 5.1, "multi-step alternation".
    """

    def __init__(self, encoder: nn.Module, every: int | str = 10, facts: Facts = Facts()) -> None:
        super().__init__(encoder)
        if every == "epoch":
            if facts.steps_per_epoch is None:
                raise UserError("every=epoch needs facts=Facts(steps_per_epoch=...)")
            every = facts.steps_per_epoch
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise BadValue("every", every, "a whole number of steps, or epoch")
        self.every = every
        self.steps = 0

    @torch.no_grad()
    def update(self, encoder: nn.Module, progress: float) -> None:
        self.steps += 1
        if self.steps % self.every == 0:
            own: list[Tensor] = list(self.encoder.parameters())
            torch._foreach_copy_(own, list(encoder.parameters()))

    # reading a number on the device would make the host wait
    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)


class StopGradient(Target):
    """The online embedding itself, without its gradient (SimSiam).

    Source: Chen & He 2021 (SimSiam), sec. 3.
    """

    @torch.no_grad()
    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        z: Tensor = encoder(view)[1] if embedding is None else embedding
        return z.detach()


class Shared(Target):
    """The online embedding itself, with its gradient (SimSiam without stop-gradient; end-to-end).

    Source: Chen & He 2021 (SimSiam), sec. 4.1; He et al. 2020 (MoCo), fig. 2a.
    """

    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        z: Tensor = encoder(view)[1] if embedding is None else embedding
        return z


class ShuffleBN(Target):
    """Encodes keys in a shuffled order, so that no batch norm sees both query and key of an image.

    The views of all ranks are permuted, each rank embeds its part, and the embeddings return to
    their own rows. On one device, `num_splits` parts of the batch replace the devices: the
    batch norms of both encoders are split into that many. Permutations are hashes of (seed, number
    of the call, row of the global batch).

    Args:
        encoder: The online encoder; its batch norms are split in place.
        target: What makes the embeddings, factory `target(encoder=..., facts=...)`.
        num_splits: Parts of a process's batch with separate norms; 1 = a device's batch norm.
        shuffle: False keeps the norms separate without shuffling (He et al. 2020, appendix A.9).
        seed: For the permutations.
        facts: Passed on.

    Raises:
        UserError: If `num_splits` is below 1.

    Source: He et al. 2020 (MoCo), sec. 3.3; the authors' CIFAR-10 notebook for one device.
    """

    calls: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        target: Callable[..., Target],
        num_splits: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        facts: Facts = Facts(),
    ) -> None:
        super().__init__(encoder)
        check_whole("num_splits", num_splits)
        if num_splits > 1:
            split_norms(encoder, num_splits)
        self.target: Target = target(encoder=encoder, facts=facts)
        self.shuffle, self.seed = shuffle, seed
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        z: Tensor
        if not self.shuffle:
            z = self.target(view, encoder)
            return z
        n, first = len(view), rank() * len(view)
        views = all_gather(view)
        rows = torch.arange(len(views), device=view.device)
        order = hash_int64((self.calls << 32) + rows, SHUFFLE_STREAM, self.seed).argsort()
        self.calls += 1
        mine = self.target(views[order[first : first + n]], encoder)
        back = order.argsort()[first : first + n]
        z = all_gather(mine)[back]
        return z

    def update(self, encoder: nn.Module, progress: float) -> None:
        self.target.update(encoder, progress)


def check_splits(module: nn.Module, batch_size: int, parts: int) -> None:
    """Refuse split norms whose parts get fewer than two rows of a process's micro-batch.

    Args:
        module: Its split norms are checked.
        batch_size: Images of an optimizer step.
        parts: Micro-batches, over all processes, that it is split into.

    Raises:
        UserError: Naming the batch and the parts.
    """
    norms = [m for m in module.modules() if isinstance(m, SplitBatchNorm)]
    splits, rows = max((norm.num_splits for norm in norms), default=1), batch_size // parts
    if splits > 1 and rows and (rows % splits or rows < 2 * splits):
        says = (
            f"does not divide the {rows} images that batch_size={batch_size} gives each device and "
            "micro-batch into parts of two or more: change either, or use a target without split "
            "norms"
        )
        raise BadValue("num_splits", splits, says=says)
