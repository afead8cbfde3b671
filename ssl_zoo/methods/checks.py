"""What a method requires of its parts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ssl_zoo.modules import Negatives
from ssl_zoo.types import BadValue, Embeddings, StepOutput, UserError, check_number

if TYPE_CHECKING:  # its base builds the optimizer by what is here
    from ssl_zoo.methods.base import Method


def build_loss(method: Method, loss: nn.Module | Callable[..., nn.Module]) -> nn.Module:
    """The loss, if it is of the kind that the method takes.

    Args:
        method: Has the kind, `takes`, and the facts.
        loss: A loss, or a factory `loss(facts=...)` (NCE).

    Raises:
        UserError: If it is another kind, or neither a loss nor a factory.
    """
    made = loss if isinstance(loss, nn.Module) else built("loss", loss, facts=method.facts)
    if not isinstance(made, method.takes):
        wanted = method.takes.__name__.removesuffix("Loss").lower()
        raise UserError(
            f"{type(method).__name__} takes a {wanted} loss, not {type(made).__name__}: "
            "choose another loss"
        )
    return made


def check_cosines(loss: nn.Module, negatives: Negatives) -> None:
    """Refuse a loss that measures distances of unit vectors if similarities are dot products.

    Raises:
        BadValue: Naming the loss.
    """
    if getattr(loss, "needs_cosines", False) and not negatives.normalize:
        reason = f"{type(loss).__name__} measures distances of unit vectors"
        raise BadValue("negatives.normalize", negatives.normalize, f"true: {reason}")


def by_size(views: list[Tensor]) -> list[Tensor]:
    """The views as one batch for each size; V of (N, C, H, W) -> (V * N, C, H, W) if it is one.

    Views of one size follow each other.
    """
    groups = groupby(views, key=lambda view: view.shape[-1])
    return [torch.cat(list(group)) for _, group in groups]


def num_large(views: list[Tensor]) -> int:
    """How many views, from the first on, are of the first one's size."""
    return sum(view.shape[-1] == views[0].shape[-1] for view in views)


def check_embeddings(embeddings: Any) -> Embeddings:
    """Refuse what is not `Embeddings`.

    Raises:
        UserError: Saying what it is.
    """
    if not isinstance(embeddings, Embeddings):
        raise UserError(
            f"embed returns a {type(embeddings).__name__}: return "
            "Embeddings(representation, online=[...], target={...}, prediction=[...])"
        )
    return embeddings


def check_output(output: Any, num_images: int) -> StepOutput:
    """Refuse what is not a `StepOutput` whose loss is a scalar with a gradient.

    Raises:
        UserError: Naming what of this does not hold.
    """
    if not isinstance(output, StepOutput):
        raise UserError(f"objective returns a {type(output).__name__}: return a StepOutput")
    loss, h = output.loss, output.representation
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else ()
        made = f"tensor of shape {shape}" if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(f"the loss is a {made}: return a scalar tensor, such as the mean over rows")
    if not loss.requires_grad:
        raise UserError("the loss has no gradient: remove detach(), no_grad() or item()")
    if h.ndim != 2 or len(h) != num_images:
        raise UserError(
            f"the representation has shape {tuple(h.shape)}, not ({num_images}, num_features)"
        )
    return output


def check_scored_on(output: str) -> str:
    """The name of the output that is scored itself.

    Raises:
        BadValue: If there is no such output.
    """
    if output not in ("representation", "embedding"):
        raise BadValue("scored_on", output, "representation or embedding")
    return output


def check_loss_weight(weight: float) -> float:
    """The weight itself.

    Raises:
        BadValue: If it is not above 0.
    """
    check_number("loss_weight", weight, above=True)
    return weight


def weighted(output: StepOutput, weight: float) -> StepOutput:
    """The output with its loss times the weight, which is then among the metrics."""
    loss = getattr(output, "loss", None)
    if weight == 1 or not isinstance(loss, Tensor):  # what is wrong then, `check_output` says
        return output
    metrics = {**output.metrics, "loss_weight": torch.full_like(loss.detach(), weight)}
    return output._replace(loss=weight * output.loss, metrics=metrics)


def built(place: str, factory: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a factory; an error names the argument that the factory fills.

    Raises:
        UserError: Naming the place.
    """
    try:
        return factory(*args, **kwargs)
    except UserError:
        raise
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{place}: {error}") from error
