"""Projectors and predictors: `head(x)`, with the output width in `out_dim`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn

from ssl_zoo.types import BadValue, check_whole

OutNorm = Literal["none", "affine", "scale", "plain"]


def _out_norm(kind: OutNorm, dim: int) -> list[nn.Module]:
    if kind == "none":
        return []
    norm = nn.BatchNorm1d(dim, affine=kind != "plain")
    if kind == "scale":  # SimCLR's official code: a scale without an offset
        norm.register_parameter("bias", None)
    return [norm]


class MLP(nn.Sequential):
    """`num_layers` linear layers with batch norm and ReLU between them.

    Args:
        in_dim: Width of the input.
        out_dim: Width of the output.
        hidden_dim: Width of the hidden layers; None = `in_dim`.
        num_layers: Number of linear layers, at least 1.
        hidden_norm: Batch norm in the hidden layers (SimCLR) or none (MoCo v2).
        out_norm: Batch norm after the last layer: "none", "affine", "scale" (a weight but no bias,
            as in SimCLR's code) or "plain" (neither, as in SimSiam).
        hidden_bias: Bias of the hidden layers; None = only if no norm follows. BYOL has it.
        out_bias: Bias of the last layer; None = only if no norm follows. BYOL's code has none.

    Raises:
        BadValue: If `out_norm` is unknown or there is no layer.

    Source: Chen et al. 2020 (SimCLR), sec. 4.2 and the official code; Chen & He 2021, sec. 4.4;
    Grill et al. 2020 (BYOL), sec. 3.3 and the official code; Chen et al. 2020 (MoCo v2).
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hidden_dim: int | None = None,
        num_layers: int = 2,
        hidden_norm: bool = True,
        out_norm: OutNorm = "none",
        hidden_bias: bool | None = None,
        out_bias: bool | None = None,
    ) -> None:
        if out_norm not in get_args(OutNorm):
            raise BadValue("out_norm", out_norm, f"one of {', '.join(get_args(OutNorm))}")
        hidden_dim = in_dim if hidden_dim is None else hidden_dim
        for name, value in (
            ("num_layers", num_layers),
            ("out_dim", out_dim),
            ("hidden_dim", hidden_dim),
        ):
            check_whole(name, value)
        hidden_bias = not hidden_norm if hidden_bias is None else hidden_bias
        widths = [in_dim] + [hidden_dim] * (num_layers - 1)
        layers: list[nn.Module] = []
        for i in range(num_layers - 1):
            layers.append(nn.Linear(widths[i], widths[i + 1], bias=hidden_bias))
            layers += [nn.BatchNorm1d(widths[i + 1])] if hidden_norm else []
            layers.append(nn.ReLU(inplace=True))
        bias = out_norm == "none" if out_bias is None else out_bias
        layers.append(nn.Linear(widths[-1], out_dim, bias=bias))
        super().__init__(*layers, *_out_norm(out_norm, out_dim))
        self.out_dim = out_dim


class Linear(nn.Linear):
    """One linear layer with bias (InstDisc, MoCo v1)."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        check_whole("out_dim", out_dim)
        super().__init__(in_dim, out_dim)
        self.out_dim = out_dim


class Identity(nn.Module):
    """No head: the embedding is the representation (SimCLR, fig. 8, "none")."""

    def __init__(self, in_dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.out_dim = in_dim

    def forward(self, x: Tensor) -> Tensor:
        return x


class Frozen(nn.Module):
    """A randomly initialised head that never learns (SimSiam, table 1b, "fixed random init").

    Args:
        head: Factory of the head, called as this class is.
        **dims: `in_dim` and, for a predictor, `out_dim`.
    """

    def __init__(self, head: Callable[..., nn.Module], **dims: int) -> None:
        super().__init__()
        self.head = head(**dims).requires_grad_(False)
        self.out_dim = self.head.out_dim

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x)
        return out
