"""Checkpoints of our own runs: the weights, and what the run saved beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ssl_zoo.checkpoints import unpickle
from ssl_zoo.checkpoints.loaded import Loaded, Output
from ssl_zoo.checkpoints.source import KEY
from ssl_zoo.checkpoints.weights import build_backbone, fill, grouped
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.types import UserError

FORMAT = 1  # of what a run or an export saves beside its weights
_ENCODER, _BACKBONE = "encoder.", "encoder.backbone."


def check_format(found: object, path: Path) -> None:
    """Refuse what another version of ssl_zoo saved.

    Args:
        found: What stands as `format`.
        path: For messages.

    Raises:
        UserError: Saying which version reads it.
    """
    if found == FORMAT:
        return
    if isinstance(found, int) and found > FORMAT:
        raise UserError(
            f"{path} has format {found}, which a newer version of ssl_zoo saved: this one reads "
            f"format {FORMAT}, update it"
        )
    raise UserError(
        f"{path} is from before format 1 of 2026-11 and cannot be read by this version: train or "
        "export it again, or check out the commit that saved it"
    )


def read_resumable(path: Path) -> dict[str, Any]:
    """What a checkpoint holds that a run can go on from.

    Raises:
        UserError: If this version did not save it, or it is damaged.
    """
    content = unpickle.read(path)
    if not is_ours(content):
        raise UserError(f"{path} was not saved by ssl_zoo: it holds no config")
    check_format(content[KEY].get("format"), path)
    return dict(content)


def is_ours(content: Any) -> bool:
    """Whether the content of a file is a run's checkpoint."""
    saved = content.get(KEY) if isinstance(content, dict) else None
    return isinstance(saved, dict) and "config" in saved


def scored_output(run: dict[str, Any] | None, output: Output) -> Output:
    """What "auto" means: the output that a run's method is made for; of others h."""
    if output != "auto":
        return output
    method = run["config"].get("method", {}) if run else {}
    made_for: Output = method.get("scored_on", "representation")
    return made_for


def load_run(content: dict[str, Any], path: Path, output: Output) -> Loaded:
    """The backbone of a run's checkpoint, with its projector where z is asked for.

    Args:
        content: As read from the file; `is_ours`.
        path: For messages.
        output: What the module returns.

    Raises:
        UserError: If another version saved it, or weights are missing.
    """
    run = dict(content[KEY])
    check_format(run.get("format"), path)
    config, prefix = run["config"]["backbone"], _BACKBONE
    if scored_output(run, output) == "embedding":
        config, prefix = _embedder(run["config"]), _ENCODER
    backbone = build_backbone(config)
    state = content["state_dict"]
    weights = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    fill(backbone, weights, str(path))
    left = [".".join(n.split(".")[:2]) for n in state if not n.startswith(prefix)]
    preprocess = Preprocess(**run["preprocess"])
    report = (
        f"{path} (ssl_zoo): {len(weights)} weights loaded, none missing; left over: "
        f"{grouped(left)}; images: {preprocess.image_size} pixels"
    )
    return Loaded(backbone.eval(), preprocess, config, report, run)


def _embedder(config: dict[str, Any]) -> dict[str, Any]:
    """The config of an `Embedder` like the run's encoder."""
    return {
        "_target_": "ssl_zoo.checkpoints.Embedder",
        "backbone": config["backbone"],
        "projector": config["method"]["module"]["projector"],
    }


class Embedder(nn.Module):
    """Backbone and projector as one module: (N, 3, S, S) -> z, (N, num_features), unnormalised.

    Args:
        backbone: Has `num_features`.
        projector: Factory, called with `in_dim`; what it makes has `out_dim`.
    """

    def __init__(self, backbone: nn.Module, projector: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector(in_dim=backbone.num_features)
        self.num_features = self.projector.out_dim

    def forward(self, images: Tensor) -> Tensor:
        z: Tensor = self.projector(self.backbone(images))
        return z
