"""The backbone in a file of another repository, and what was concluded about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_zoo.backbones import Variant
from ssl_zoo.checkpoints.hints import Hints
from ssl_zoo.checkpoints.loaded import Loaded
from ssl_zoo.checkpoints.official.architectures import architecture
from ssl_zoo.checkpoints.official.byol import byol_state, is_byol
from ssl_zoo.checkpoints.official.layouts import (
    HAIKU,
    PLAIN,
    Layout,
    could_be_solo_learns,
)
from ssl_zoo.checkpoints.official.names import (
    State,
    below,
    has,
    holds_tensors,
    lacks_pool,
    tensors_of,
    unnumbered,
)
from ssl_zoo.checkpoints.official.prefixes import find
from ssl_zoo.checkpoints.official.vits import as_timm
from ssl_zoo.checkpoints.weights import build_backbone, check_plain, fill, grouped, shown
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.types import UserError

_VARIANTS: dict[Variant, str] = {
    "same_padding": "it pads as JAX does",
    "solo_cifar": "a 3x3 stem that pads by 2, as solo-learn's (ckpt_layout=plain pads by 1)",
    "no_stem_relu": "no ReLU after the stem, for which the Sequential's numbers have no place",
}
_CONVERTED = " (0 to 1 if converted from TensorFlow's SimCLR: ckpt_layout=simclr_converted)"


def load_official(content: Any, path: Path, hints: Hints | None = None) -> Loaded:
    """The backbone of another repository's checkpoint.

    Args:
        content: As read from the file.
        path: For messages.
        hints: What replaces the conclusions.

    Raises:
        UserError: If the layout or the architecture is unknown, or weights are missing.
    """
    hints = hints or Hints()
    if isinstance(content, Mapping) and is_byol(content):
        hints.refuse(path, "BYOL's experiment")
        state = byol_state(content, path)
        return _load(HAIKU, state, "", ["target_params"], path, hints, "the online network")
    state = tensors_of(content)
    layout, prefix, why = find(content, state, path, hints)
    items = content.items() if isinstance(content, Mapping) else ()
    beside = [shown(key) for key, value in items if not holds_tensors(value)]
    return _load(layout, state, prefix, beside, path, hints, why)


def _load(
    layout: Layout,
    state: State,
    prefix: str,
    beside: list[str],
    path: Path,
    hints: Hints,
    why: str,
) -> Loaded:
    source = f"{path} ({layout.name})"
    inside = below(state, prefix)
    for name, value in inside.items():  # before anything is read from them
        check_plain(name, value, source)
    weights = as_timm(unnumbered(inside))
    config, notes = architecture(weights, source, layout.heads, hints.ckpt_heads)
    cifar = config.get("stem") == "cifar"
    _check_stem(layout, state, prefix, inside, cifar, path, hints)
    variant = _variant(layout, cifar, inside)
    if variant is not None:
        config |= {"_target_": "ssl_zoo.backbones.ported_resnet", "variant": variant}
        notes.append(_VARIANTS[variant])
    elif cifar:
        notes.append(
            "a 3x3 stem that pads by 1, without max-pool (shapes do not tell: "
            "ckpt_layout=solo_learn pads by 2)"
        )
    if layout is PLAIN:
        notes.append(f"ImageNet's statistics by default{_CONVERTED if _is_fresh(inside) else ''}")
    backbone = build_backbone(config)
    left = [_inner(layout, prefix) + name.split(".")[0] for name in fill(backbone, weights, source)]
    left += [_outer(name, prefix) for name in state if not name.startswith(prefix)]
    preprocess = _preprocess(layout, cifar, config)
    normalised = "normalised" if preprocess.mean.any() else "0 to 1"
    report = (
        f"{source}: {config['name']}, {len(backbone.state_dict())} weights loaded, none missing; "
        f"left over: {grouped(left)}{', and ' + ', '.join(beside) if beside else ''}; images: "
        f"{preprocess.image_size} pixels, {normalised}; {'; '.join([why, *notes])}"
    )
    return Loaded(backbone.eval(), preprocess, config, report)


def _inner(layout: Layout, prefix: str) -> str:
    """What a name left over inside the backbone's prefix is shown with."""
    return layout.prefix if layout.root(prefix) is not None else f"{prefix.split('.')[-2]}."


def _outer(name: str, prefix: str) -> str:
    """The first part in which a name differs from the backbone's prefix."""
    parts = name.split(".")
    for part, own in zip(parts, prefix.split("."), strict=False):
        if part != own:
            return part
    return parts[-1]


def _check_stem(
    layout: Layout,
    state: State,
    prefix: str,
    inside: State,
    cifar: bool,
    path: Path,
    hints: Hints,
) -> None:
    """Refuse stems whose computation neither shapes nor the layout tell."""
    if lacks_pool(inside) and not cifar:
        raise UserError(f"{path} is not a known architecture: its 7x7 stem has no max-pool")
    if cifar and layout is PLAIN and not hints.ckpt_layout and could_be_solo_learns(prefix, state):
        raise UserError(
            f"{path}: its layout is unknown: its 3x3 stem pads by 2 if solo-learn wrote it, whose "
            "heads it has, else by 1: give ckpt_layout=solo_learn or ckpt_layout=plain"
        )


def _is_fresh(inside: State) -> bool:
    """Whether norms have never counted a batch, as in what is converted, and in torchvision's."""
    counts = [value for name, value in inside.items() if name.endswith("num_batches_tracked")]
    return bool(counts) and not any(bool(count.any()) for count in counts)


def _variant(layout: Layout, cifar: bool, inside: State) -> Variant | None:
    if layout is HAIKU:
        return "same_padding"
    if has(inside, "2.0.conv1."):
        return "no_stem_relu"
    return layout.cifar_variant if cifar else None


def _preprocess(layout: Layout, cifar: bool, config: dict[str, Any]) -> Preprocess:
    options = {"image_size": 224, "crop_fraction": 0.875} | layout.preprocess
    if cifar:
        options = {"image_size": 32, "crop_fraction": 1.0} | layout.cifar
    size = config.get("img_size", config.get("image_size", options["image_size"]))
    return Preprocess(**options | {"image_size": size})
