"""The few collectives that ssl_zoo needs; each is the identity in one process."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main_process() -> bool:
    """Whether this is rank 0; from the launcher's environment before the processes connect."""
    if world_size() > 1:
        return rank() == 0
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    # SLURM's is that of a process which srun started, unless another launcher stands between
    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0"))
    return local == "0" and os.environ.get("NODE_RANK", "0") == "0"


class _AllGather(torch.autograd.Function):
    """Concatenation over ranks whose backward sums every rank's gradient for this rank's rows."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        return grad.chunk(world_size())[rank()]


def all_gather(x: Tensor) -> Tensor:
    """Every rank's rows in rank order, (world_size * N, ...), with gradient.

    All ranks must hold the same number of rows. Under DDP, which averages gradients over ranks, a
    loss reduced by `global_mean` then has the gradient of the global batch.
    """
    if world_size() == 1:
        return x
    if x.requires_grad:
        gathered: Tensor = _AllGather.apply(x)
        return gathered
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def gather_uneven(x: Tensor) -> Tensor:
    """Every rank's rows in rank order, however many each rank holds; no gradient."""
    if world_size() == 1:
        return x
    counts = all_gather(torch.tensor([len(x)], device=x.device))
    padded = x.new_zeros(int(counts.max()), *x.shape[1:])
    padded[: len(x)] = x
    chunks = all_gather(padded).chunk(world_size())
    return torch.cat([chunk[: int(n)] for chunk, n in zip(chunks, counts, strict=True)])


class _Mean(torch.autograd.Function):
    """total / count over all ranks, whose gradient undoes DDP's division by the world size."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, total: Tensor, count: Tensor) -> Tensor:
        both = torch.stack([total.double(), count.double()])
        dist.all_reduce(both)
        count = both[1].clamp(min=1)
        ctx.save_for_backward(count)
        ctx.dtype = total.dtype  # type: ignore[attr-defined]
        return (both[0] / count).to(total.dtype)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *grads: Tensor
    ) -> tuple[Tensor | None, None]:
        (count,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return (grads[0] * world_size() / count).to(ctx.dtype), None  # type: ignore[attr-defined]


def global_mean(total: Tensor, count: Tensor | int) -> Tensor:
    """The mean over all ranks of what this rank summed up (`total`) over `count` terms.

    Returns the same value on every rank; after DDP's averaging, its gradient is the gradient of
    that global mean and not 1 / world_size of it. The mean of no terms at all is 0.
    """
    if world_size() == 1:
        return total / (max(count, 1) if isinstance(count, int) else count.clamp(min=1))
    if isinstance(count, int):  # filled, since a copy from the CPU would make the host wait
        count = torch.full((), count, device=total.device)
    mean: Tensor = _Mean.apply(total, count)
    return mean
