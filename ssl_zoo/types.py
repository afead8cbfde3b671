"""What passes between the parts: batches, embeddings, and errors that are the user's to fix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # keeps `import ssl_zoo.types` free of torch, for the command line
    from torch import Tensor


class UserError(ValueError):
    """Bad input, reported in one line that names the value, the place and the fix."""


class BadValue(UserError):
    """A value that a part refuses; the line names the part's own argument.

    On a command line, `ssl_zoo.config` names the knob that feeds the argument instead.

    Args:
        argument: Its name; dotted where only a part of it is refused, as in "views[0].blur".
        value: What was given.
        allowed: What it must be, to follow "must be", as in "in [0, 1]".
        says: The words after "argument=value", if the value conflicts with something else instead
            of being out of range.
    """

    def __init__(self, argument: str, value: object, allowed: str = "", *, says: str = "") -> None:
        super().__init__(argument, value, allowed)
        self.argument, self.value = argument, value
        self.says = says or f"must be {allowed}"
        self.separator = " " if says else ": "

    def __str__(self) -> str:
        return self.named(self.argument)

    def named(self, name: str) -> str:
        """The line, under another name of the argument."""
        return f"{name}={as_typed(self.value)}{self.separator}{self.says}"


def check_whole(argument: str, value: object, least: int = 1) -> None:
    """Refuse what is not a whole number of at least `least`.

    Raises:
        BadValue: Naming the argument.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise BadValue(argument, value, f"a whole number of at least {least}")


def check_number(
    argument: str, value: object, low: float = 0.0, high: float = math.inf, *, above: bool = False
) -> None:
    """Refuse what is not a finite number from `low` to `high`, or above `low`.

    Raises:
        BadValue: Naming the argument.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if number and low <= value <= high and value < math.inf and not (above and value == low):  # type: ignore[operator]
        return
    bounds = f"in [{low:g}, {high:g}]" if high < math.inf else f"at least {low:g}"
    bounds = f"above {low:g}" if above else bounds
    finite = " and finite" if number and value == math.inf else ""
    raise BadValue(argument, value, f"{'' if number else 'a number '}{bounds}{finite}")


class NotFinite(UserError):
    """A loss that is NaN or infinite ended a run: a result, with a status of its own."""


def as_typed(value: object) -> object:
    """A value as written on a command line: true, null, [1, 2]."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(str(as_typed(one)) for one in value)}]"
    return value


def listed(names: Sequence[str], shown: int = 5) -> str:
    """Names in a line, the first few of them."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    text = str(error).replace("UserError raised while resolving interpolation: ", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


class Facts(NamedTuple):
    """What only the data and the run know, passed to a method once, and by it to its factories.

    Attributes:
        num_images: Size of the training split; a memory bank and NCE need it.
        num_classes: Of the training split, 0 = unlabelled; losses with class weights need it.
        steps_per_epoch: Optimizer steps; a target that moves with the epoch needs it.
        total_steps: Optimizer steps of the whole run; schedules need it.

    Each is None if it is not known, as in a bare loop that needs none of them.
    """

    num_images: int | None = None
    num_classes: int | None = None
    steps_per_epoch: int | None = None
    total_steps: int | None = None


class MultiViewBatch(NamedTuple):
    """V augmented views of N images.

    Attributes:
        views: V tensors (N, C, H, W), float, normalised.
        label: (N,) int64, -1 = unlabelled; read by callbacks and supervised methods only.
        index: (N,) int64, position in the training split.
    """

    views: list[Tensor]
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


class Embeddings(NamedTuple):
    """What a method's forward passes return for N images: all that its objective sees of them.

    All tensors have N rows, so that those of several micro-batches can be put together.

    Attributes:
        representation: (N, num_features), h of `views[0]` by the online branch, detached.
        online: Of each view that the online branch sees, in their order, z (N, embed_dim),
            unnormalised; MoCo's queries.
        target: By the view's index in `views`, z of the views that others are compared with: of
            the target branch (MoCo's keys), or of the large views where others may be small
            (multi-crop). Empty if there is no target.
        prediction: p of each z in `online`; empty if there is no predictor.
    """

    representation: Tensor
    online: list[Tensor]
    target: dict[int, Tensor]
    prediction: list[Tensor]


class StepOutput(NamedTuple):
    """What a method's `step` returns.

    Attributes:
        loss: Scalar.
        representation: (N, num_features), h of `views[0]` by the online branch, detached.
        embedding: (N, embed_dim), z of the same, unnormalised, detached.
        metrics: Further scalars to log, by name, detached.
    """

    loss: Tensor
    representation: Tensor
    embedding: Tensor
    metrics: dict[str, Tensor]
