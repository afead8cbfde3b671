"""Every option of every config group composes and takes a step; every parameter has a gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import get_class
from omegaconf import DictConfig

from helpers.configs import Make
from helpers.tiers import every, only
from helpers.trees import make_classes, make_tree
from ssl_zoo.config import CONFIG_DIR, instantiate, naming_knobs
from ssl_zoo.data import DataModule
from ssl_zoo.train import train
from ssl_zoo.training.build import build_method
from ssl_zoo.types import UserError

NEEDS = {  # what an option cannot do without
    "backbone=torchvision": ["backbone.name=convnext_tiny"],
    "backbone=timm": ["backbone.name=resnet10t"],
    "augmentation=simclr": ["augmentation.blur_kernel=3"],
    "method/metric_loss=other": [
        "method.metric_loss._target_=pytorch_metric_learning.losses.CircleLoss",
        "+method.metric_loss.gamma=40",
    ],
    "method/miner=other": ["method.miner._target_=pytorch_metric_learning.miners.AngularMiner"],
    "method/loss=whitened_mse": ["method.loss.whitening_size=32"],
    "augmentation=mlrc": ["augmentation.size=32"],
}

WIDE = ("barlow_twins", "vicreg", "lejepa", "mocov3", "nnclr", "swav")  # 2048 dimensions or more
NARROW = ["method.hidden_dim=16", "method.embed_dim=16"]

TINY_NET = ["backbone.widths=[8,16]", "backbone.strides=[2,2]"]

DOWNLOADED = ["cifar10", "cifar100", "stl10", "imagenet"]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (Path(CONFIG_DIR) / group).glob("*.yaml"))


def step(cfg: DictConfig) -> None:
    """One optimizer step without a trainer, as docs/library.md does it."""
    data: DataModule = instantiate(cfg.data)
    method = build_method(cfg, data)
    optimizer = instantiate(cfg.method.module.optimizer)(method.param_groups())
    scheduler = instantiate(cfg.scheduler)(optimizer, total_steps=10)
    before = {name: p.clone() for name, p in method.named_parameters()}
    for _ in range(2):  # a warm-up's first rate is 0
        raw = next(iter(data.train_dataloader()))
        output = method.step(data.transfer_batch_to_device(raw, torch.device("cpu"), 0))
        assert output.loss.isfinite()
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        scheduler.step()
        method.update(progress=0.0)
    for name, p in method.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, f"{name} has no gradient"
            assert p.grad.isfinite().all(), name
    assert any(not torch.equal(before[name], p) for name, p in method.named_parameters())


@pytest.mark.parametrize(
    "name", only(["convnet", "resnet18_cifar", "small_resnet", "timm"], options("backbone"))
)
def test_backbones(make_config: Make, name: str) -> None:
    small = ["dataset.splits.num_train=20", "batch_size=4"]
    extra = NEEDS.get(f"backbone={name}", [])
    step(make_config("name=test", *small, f"backbone={name}", *extra, tiny=False))


FAMILIES = [
    *("backbone=small_resnet", "backbone=resnet18_cifar", "backbone=googlenet_bn"),
    *(f"backbone=timm backbone.name={name}" for name in ("vit_tiny_patch16_224", "convnext_atto")),
    "backbone=torchvision backbone.name=mobilenet_v3_small",
]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", options("method"))
def test_every_method_with_every_family_of_backbones(
    make_config: Make, method: str, family: str
) -> None:
    few = ["name=test", "dataset.splits.num_train=40", "batch_size=16", "optimizer=sgd"]
    narrow = NARROW * (method in WIDE)
    step(make_config(*few, f"method={method}", *family.split(), *narrow, tiny=False))


def slots(method: str) -> list[str]:
    """The slots that a method's file fills."""
    defaults = yaml.safe_load((Path(CONFIG_DIR) / f"method/{method}.yaml").read_text())["defaults"]
    return [next(iter(entry)) for entry in defaults if isinstance(entry, dict)]


def class_of(file: str, *keys: str) -> Any:
    """The class that a config file below conf/method builds."""
    node = yaml.safe_load((Path(CONFIG_DIR) / f"method/{file}.yaml").read_text())
    for key in keys:
        node = node[key]
    return get_class(node["_target_"])


def fits(method: str, slot: str, option: str) -> bool:
    if slot == "negatives" and method == "instdisc":
        return option == "memory_bank"
    takes = class_of(method, "module").takes
    return slot != "loss" or issubclass(class_of(f"loss/{option}"), takes)


def combinations() -> list[Any]:
    """Every option of every slot of every method; the first tier has every third kind, once."""
    triples = [
        (method, slot, option)
        for method in options("method")
        for slot in slots(method)
        for option in options(f"method/{slot}")
    ]
    first: dict[Any, Any] = {}
    for method, slot, option in triples:
        kind = (slot, option) if fits(method, slot, option) else slot
        first.setdefault(kind, (method, slot, option))
    return only(list(first.values())[::3], triples)


@pytest.mark.parametrize(("method", "slot", "option"), combinations())
def test_every_slot_of_every_method(make_config: Make, method: str, slot: str, option: str) -> None:
    more = NEEDS.get(f"method/{slot}={option}", []) + NARROW * (method in WIDE)
    cfg = make_config(f"method={method}", f"method/{slot}={option}", "optimizer=sgd", *more)
    if fits(method, slot, option):
        step(cfg)
    else:
        with pytest.raises(UserError, match=r"is no loss for|takes a memory bank, not"):
            step(cfg)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("method.same_view_negatives=no", r"same_view_negatives=no: give true or false$"),
        ("method.temperature=foo", r"^method\.temperature=foo: give a number$"),
        ("method.temperature=true", r"^method\.temperature=true: give a number$"),
        ("method=moco method.queue_size=10.5", r"^method\.queue_size=10\.5: give a whole"),
        ("method=moco method.momentum=null", r"momentum=null: give a number$"),
        ("method=moco method.embed_dim=0", r"_dim=0: must be a whole number of at least 1$"),
        ("method=moco method.embed_dim=null", r"embed_dim=null: must be a whole number"),
        ("method=moco method.queue_size=null", r"queue_size=null: give a whole number$"),
        ("method.hidden_dim=0", r"hidden_dim=0: must be a whole number of at least 1$"),
        ("method=instdisc method.num_negatives=2.5", r"=2\.5: give a whole number or null$"),
        ("method=instdisc method.proximal_weight=null", r"proximal_weight=null: give a number$"),
        (
            "method=moco batch_size=36",
            r"num_splits=8 does not divide the 36 images .* batch_size=36",
        ),
        ("method=moco batch_size=32 accumulate=4", r"num_splits=8 .* 8 images .* two or more"),
        (
            "method/loss=nt_logistic method.loss.margin=0.1",
            r"margin=0\.1 is read by method.loss.mode=semi_hard only, not by all$",
        ),
        (
            "method/loss=nt_logistic method.loss.num_subsampled=4",
            r"num_subsampled=4 is read by method.loss.mode=subsample only, not by all$",
        ),
        (
            "method.same_view_negatives=false method/negatives=queue",
            r"same_view_negatives=false: must be true where negatives are not in-batch$",
        ),
        (
            "method=metric_learning method.metric_loss.neg_margin=abc",
            r"^method\.metric_loss\.neg_margin=abc: must be a number$",
        ),
        ("optimizer.weight_decay=foo", r"^optimizer\.weight_decay=foo: give a number$"),
        ("augmentation.jitter=foo", r"^augmentation\.jitter=foo: give a number$"),
        ("scheduler=multistep scheduler.milestones=3", r"milestones=3: must be a list of epochs"),
        (
            "scheduler=multistep scheduler.milestones=[foo]",
            r"milestones=\['foo'\]: must be a list of epochs",
        ),
    ],
)
def test_values_that_make_no_sense(make_config: Make, overrides: str, message: str) -> None:
    cfg = make_config(*overrides.split())
    with pytest.raises(UserError, match=message), naming_knobs(cfg):
        step(cfg)


@pytest.mark.parametrize("loss", ["facenet_triplet", "contrastive_margin"])
@pytest.mark.parametrize("method", ["simclr", "moco"])
def test_distances_of_unit_vectors_need_cosines(make_config: Make, method: str, loss: str) -> None:
    slots = ["method/negatives=in_batch", f"method/loss={loss}"]
    dot_products = "method.negatives.normalize=false"
    with pytest.raises(
        UserError, match=r"negatives\.normalize=false: must be true: .* unit vectors$"
    ):
        step(make_config(f"method={method}", *slots, dot_products))


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={option}"
        for group in ("augmentation", "optimizer", "scheduler")
        for option in options(group)
    ],
)
def test_parts(make_config: Make, choice: str) -> None:
    step(make_config(choice, *NEEDS.get(choice, [])))


@pytest.mark.parametrize("view_size", [16, 48])
def test_views_of_another_size_than_the_images(make_config: Make, view_size: int) -> None:
    step(make_config(f"augmentation.size={view_size}"))


@pytest.mark.parametrize("name", ["shapes", "digits", "folder"])
def test_datasets(make_config: Make, tmp_path: Path, name: str) -> None:
    tree = make_tree(tmp_path / "tree", [(40, 50), (64, 33)])
    folder = [f"dataset.root={tree}", "batch_size=8", "dataset.num_workers=0"]
    extra = folder if name == "folder" else []
    base = ["name=test", f"dataset={name}", "augmentation.blur=0"]
    step(make_config(*base, *TINY_NET, *extra, tiny=False))


@pytest.mark.parametrize("name", DOWNLOADED)
def test_the_other_datasets_compose(make_config: Make, name: str) -> None:
    cfg = make_config("name=test", f"dataset={name}", tiny=False)
    assert cfg.dataset.val_fraction == 0.1


@pytest.mark.parametrize(
    "name",
    only(["simclr_quick", "metric_learning_omniglot"], options("experiment")),
)
def test_experiments_compose_and_step(make_config: Make, tmp_path: Path, name: str) -> None:
    base = [f"experiment={name}", "batch_size=16", "name=test", *(NARROW * name.startswith(WIDE))]
    if make_config(*base, tiny=False).dataset.get("root") is None:
        small = ["dataset.splits.num_train=40", "dataset.splits.num_test=4"]
        return step(make_config(*base, *small, tiny=False))
    views = ["augmentation.size=32", "augmentation.blur_kernel=3", "augmentation.small.size=null"]
    if name.startswith("metric_learning"):  # these want many classes, below as many folders
        depth = make_config(*base, tiny=False).dataset.class_depth
        names = ["alphabet/" * (depth - 1) + letter for letter in "stuvwxyz"]
        tree = make_classes(tmp_path / "tree", names, per_class=10)
        files = [
            f"dataset.root={tree}",
            f"dataset.cache_dir={tmp_path}",
            "method.images_per_class=8",
        ]
        weights = ["backbone.weights=null"] if "mlrc" in name else []  # no download
        return step(make_config(*base, *files, *views, *weights, tiny=False))
    tree = make_tree(tmp_path / "tree", [(32, 32)])
    files = ["dataset=folder", f"dataset.root={tree}"]
    step(make_config(*base, *files, *views, tiny=False))


@pytest.mark.parametrize("name", every(8, options("ablation")))
def test_ablations_step(make_config: Make, name: str) -> None:
    small = ["method.hidden_dim=16"] if name.startswith(("simsiam", "byol")) else []
    small += NARROW * name.startswith(WIDE)
    if "resnet18" not in name:  # these rows bring a backbone of their own
        return step(make_config(f"ablation={name}", *small))
    thin = ["backbone.width=0.125", "dataset.splits.num_train=100", "batch_size=16"]
    step(make_config(f"ablation={name}", *thin, "name=test", tiny=False))


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["accumulate=2"], marks=pytest.mark.slow),
        pytest.param(["clip_norm=1.0"], marks=pytest.mark.slow),
        ["precision=bf16-mixed"],
        pytest.param(["precision=auto"], marks=pytest.mark.slow),
        pytest.param(["compile=true"], marks=pytest.mark.slow),
        pytest.param(["monitor.bank_size=50", "monitor.every_n_epochs=2"], marks=pytest.mark.slow),
        pytest.param(["callbacks=none"], marks=pytest.mark.slow),
        pytest.param(["optimizer.exclude_bias_and_norm=false"], marks=pytest.mark.slow),
        pytest.param(["optimizer=lars", "optimizer.lr_rule=sqrt"], marks=pytest.mark.slow),
        pytest.param(["augmentation.jitter_order=fixed"], marks=pytest.mark.slow),
    ],
    ids=lambda value: " ".join(value),
)
def test_run_wide_knobs(make_config: Make, overrides: list[str]) -> None:
    assert train(make_config(*overrides))["train/loss"] > 0


@pytest.mark.parametrize("name", options("strategy"))
def test_strategies(make_config: Make, name: str) -> None:
    assert instantiate(make_config(f"strategy={name}").strategy)
