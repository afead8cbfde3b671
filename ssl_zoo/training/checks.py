"""Whether the parts of a run keep their contracts, and fit each other, the data and the devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import locate, options_of, overridden_keys, read_option, task_overrides
from ssl_zoo.console import info
from ssl_zoo.data import DataModule
from ssl_zoo.extras import need
from ssl_zoo.methods import Method
from ssl_zoo.methods.checks import built
from ssl_zoo.modules import EmbeddingQueue, Encoder, Prototypes, SplitBatchNorm
from ssl_zoo.modules.contract import check_backbone, check_head
from ssl_zoo.modules.targets import check_splits
from ssl_zoo.types import BadValue, UserError, listed

METRIC_LIBRARY = "pytorch_metric_learning"


def check_library(cfg: DictConfig) -> None:
    """Refuse parts of pytorch-metric-learning where it is not installed.

    Raises:
        UserError: Naming the extra.
    """
    if f"{METRIC_LIBRARY}." in str(OmegaConf.to_container(cfg.method)):
        need("method=metric_learning", METRIC_LIBRARY)


def check_wired(module: DictConfig) -> None:
    """Refuse a method's config that lacks an optimizer, a schedule or a backbone to call.

    Raises:
        UserError: Naming the line to add.
    """
    if "_target_" not in module.get("backbone", {"_target_": ""}):
        raise UserError("backbone has no _target_: name the class or function in its YAML")
    for name, line in (("optimizer", "${optimizer.module}"), ("scheduler", "${scheduler}")):
        if name not in module:
            raise UserError(f"method.module has no {name}: add `{name}: {line}` to its YAML")


def check_loss(module: DictConfig) -> None:
    """Refuse a loss of another kind than the method takes, with the options that are of it.

    Raises:
        UserError: Naming them.
    """
    takes = getattr(locate(module._target_), "takes", None)
    target = OmegaConf.select(module, "loss._target_")
    if takes is None or target is None or _makes(target, takes):
        return
    options = ((name, read_option("method/loss", name)) for name in options_of("method/loss"))
    fit = [name for name, option in options if _makes(option.get("_target_", ""), takes)]
    loss, method = (name.rpartition(".")[2] for name in (target, module._target_))
    raise UserError(f"{loss} is no loss for {method}: choose method/loss={' or '.join(fit)}")


def _makes(target: str, kind: type) -> bool:
    """Whether a class is of a kind; what is no class may be."""
    made = locate(target) if target else None
    return not isinstance(made, type) or issubclass(made, kind)


def check_parts(arguments: Mapping[str, Any], view_size: int) -> None:
    """Try the backbone and the projector that a method is about to be built from.

    The projector is built once more for it; the random generator stays as it is.

    Args:
        arguments: Of the method.
        view_size: Side of the first training view.

    Raises:
        UserError: Naming what does not hold.
    """
    if "backbone" not in arguments:
        return
    backbone = arguments["backbone"]
    check_backbone(backbone, view_size)
    if "projector" in arguments:
        with torch.random.fork_rng(devices=[]):
            head = built("projector", arguments["projector"], in_dim=backbone.num_features)
        check_head(head, backbone.num_features, "projector")


def check_small_views(method: Method, view_sizes: Sequence[int]) -> None:
    """Refuse small views that the backbone, which takes the first one, does not take.

    Raises:
        UserError: Naming their size.
    """
    for side in sorted(set(view_sizes) - {view_sizes[0]}):
        try:
            check_backbone(method.encoder.backbone, side)
        except UserError as error:
            fix = "give small views more pixels, or choose another backbone"
            raise UserError(f"{error}: {fix}") from error


def check_kind(method: Any) -> None:
    """Refuse what is not a `Method` with an `Encoder`.

    Raises:
        UserError: Naming what it is.
    """
    if not isinstance(method, Method):
        name = type(method).__name__
        raise UserError(f"method.module is a {name}, which is not an ssl_zoo.methods.Method")
    if not isinstance(getattr(method, "encoder", None), Encoder):
        raise UserError(
            f"{type(method).__name__}.encoder is not an ssl_zoo.modules.Encoder: set it to "
            "Encoder(backbone, projector(in_dim=backbone.num_features))"
        )


def check_views(cfg: DictConfig, method: Method, data: DataModule) -> None:
    """Refuse a recipe that makes other views than the method takes, by their number or sizes.

    Raises:
        UserError: Naming them, and what the method takes.
    """
    sizes = data.view_sizes
    _check_sizes(cfg, method, sizes)
    made = sizes.count(sizes[0])
    asked, entries = cfg.method.get("num_views"), cfg.augmentation.get("views")
    overruled = entries and asked not in (None, made)
    if overruled and method.takes_views(asked) and method.takes_views(made):
        raise UserError(
            f"method.num_views={asked}, but augmentation.views makes {made} views of "
            f"{sizes[0]} pixels: set method.num_views={made}, or augmentation.views=[]"
        )
    if not method.takes_views(made):
        taken = next(n for n in range(1, 100) if method.takes_views(n))
        name = type(method).__name__
        if entries:
            raise UserError(
                f"augmentation.views makes {made} views of {sizes[0]} pixels, but {name} takes "
                f"{taken}: give entries of that size whose counts add up to {taken}"
            )
        knob = "augmentation.num_views" if asked is None else "method.num_views"
        raise UserError(f"{knob}={made}, but {name} takes {taken}: set {knob}={taken}")


def say_idle(cfg: DictConfig, method: Method) -> None:
    """Say what makes no difference: knobs of views that are not made, prototypes and their queue.

    Args:
        cfg: Of the run.
        method: Built, with the facts of the run.
    """
    small = "augmentation.small."
    given = [key for key in overridden_keys(task_overrides()) if key.startswith(small)]
    if OmegaConf.select(cfg, f"{small}count") == 0 and (idle := set(given) - {f"{small}count"}):
        info(f"{small}count=0: {listed(sorted(idle))} changes nothing without small views")
    steps = method.facts.total_steps or 0
    for part in method.modules():
        if isinstance(part, Prototypes) and 0 < steps <= part.frozen_steps:
            info(f"the prototypes never learn: they are frozen for all of the run's {steps} steps")
        if isinstance(part, EmbeddingQueue):
            _say_idle_queue(part, steps, cfg.batch_size)


def _say_idle_queue(queue: EmbeddingQueue, steps: int, batch_size: int) -> None:
    size, first = queue.queue.shape[1], queue.first_step
    if not size and first:
        info("a first epoch of the queue changes nothing: there is no queue, its size is 0")
    before_the_last = max(0, steps - first - 1) * batch_size  # a step sees those of earlier ones
    if size > before_the_last and steps:
        info(
            f"the queue of {size:,} embeddings is never used: it is filled from step {first} on, "
            f"and holds {before_the_last:,} before the last of the run's {steps} steps"
        )


def _check_sizes(cfg: DictConfig, method: Method, sizes: list[int]) -> None:
    """Refuse multi-crop where the method takes views of one size, or their order is another."""
    if len(counts := Counter(sizes)) == 1:
        return
    listed = ", ".join(f"{count} of {side}" for side, count in counts.items()) + " pixels"
    name = type(method).__name__
    if "takes_sizes" in vars(method):  # it depends on a part
        name += f" with {type(method.loss).__name__}"
    if not method.takes_sizes:
        small = (cfg.augmentation.get("small") or {}).get("count")
        fix = "set augmentation.small.count=0" if small else "give augmentation.views one size"
        raise UserError(
            f"augmentation makes views of several sizes ({listed}), but {name} takes views of one "
            f"size: {fix}"
        )
    if sizes != sorted(sizes, reverse=True):
        raise UserError(
            f"augmentation.views makes views of {listed}, in this order, but {name} takes the "
            "first as the large ones: list them from the largest to the smallest"
        )


def check_norms(cfg: DictConfig, method: Method) -> None:
    """Refuse split norms that the batch does not fill, or that would be synchronised.

    Raises:
        UserError: Naming what to change.
    """
    if cfg.sync_batchnorm and any(isinstance(m, SplitBatchNorm) for m in method.modules()):
        raise UserError(
            "sync_batchnorm=true joins the norms that shuffle_bn keeps separate: set "
            "method.target.num_splits=1 or method/target=momentum"
        )
    devices = cfg.devices if isinstance(cfg.devices, int) else 1
    try:
        check_splits(method, cfg.batch_size, cfg.accumulate * devices * cfg.num_nodes)
    except BadValue as error:
        raise UserError(error.named("method.target.num_splits")) from error
