"""Files in the layouts of other repositories, with random weights, give the same features."""

from __future__ import annotations

import argparse
import pickle
import re
import sys
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_zoo import load_backbone
from ssl_zoo.checkpoint import Pretrained, build_backbone, load_pretrained
from ssl_zoo.modules.backbones import torchvision_backbone
from ssl_zoo.types import UserError

State = dict[str, Tensor]
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def randomised(network: nn.Module) -> nn.Module:
    """Statistics and counters as after training, so that none can go missing unseen."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(7)
        elif value.ndim == 1:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        else:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.05)
    return network.eval()


@cache
def resnet(name: str = "thin") -> nn.Module:
    """A network of torchvision; "thin" has a quarter of its channels."""
    if name.startswith("thin"):
        return randomised(torchvision_backbone(f"resnet{name[4:] or 18}", width=0.25))
    network = randomised(torchvision.models.get_model(name))
    network.fc = nn.Identity()
    return network


@cache
def cifar_resnet(padding: int = 1) -> nn.Module:
    network = torchvision_backbone("resnet18", width=0.25)
    network.conv1 = nn.Conv2d(3, 16, 3, stride=1, padding=padding, bias=False)
    network.maxpool = nn.Identity()
    return randomised(network)


@cache
def vit(num_heads: int = 3, patch: int = 16) -> nn.Module:
    return randomised(
        timm.create_model(
            "vit_tiny_patch16_224",
            num_classes=0,
            img_size=64,
            patch_size=patch,
            num_heads=num_heads,
        )
    )


def prefixed(network: nn.Module, prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in network.state_dict().items()}


def some(*names: str) -> State:
    """Weights of heads, queues and momentum copies; what they hold is never looked at."""
    return {name: torch.ones(3, 3) for name in names}


def wrong(network: nn.Module, prefix: str) -> State:
    """A copy of other weights, which must not be the one that is loaded."""
    return {name: value * 0 - 1 for name, value in prefixed(network, prefix).items()}


def bare(content: Any, key: str) -> State:
    """The weights alone, without the wrapper's prefix."""
    return {name.removeprefix("module."): value for name, value in content[key].items()}


def stripped() -> State:
    """The online encoder of MoCo and nothing else."""
    state = bare(moco_v2(), "state_dict")
    return {name: value for name, value in state.items() if name.startswith("encoder_q.")}


def training(state: State, **others: Any) -> dict[str, Any]:
    return {"epoch": 200, "arch": "resnet18", "state_dict": state, "optimizer": {}, **others}


def lightning(state: State) -> dict[str, Any]:
    return {"pytorch-lightning_version": "1.5.1", "state_dict": state, "epoch": 1, "callbacks": {}}


def moco_v1() -> Any:
    heads = some("module.encoder_q.fc.weight", "module.queue", "module.queue_ptr")
    own = prefixed(resnet(), "module.encoder_q.")
    return training(own | wrong(resnet(), "module.encoder_k.") | heads)


def moco_v2() -> Any:
    heads = some("module.encoder_q.fc.0.weight", "module.encoder_q.fc.2.bias", "module.queue")
    own = prefixed(resnet(), "module.encoder_q.")
    return training(own | wrong(resnet(), "module.encoder_k.") | heads)


def moco_v3(network: nn.Module, head: str) -> Any:
    heads = some(f"module.base_encoder.{head}.0.weight", "module.predictor.0.weight")
    copy = wrong(network, "module.momentum_encoder.")
    return training(prefixed(network, "module.base_encoder.") | copy | heads)


@cache
def moco_v3_vit() -> nn.Module:
    network = vit(num_heads=12)
    network.pos_embed.data[:, 0] = 0  # sines and cosines, and nothing at the class token
    return network


def simsiam() -> Any:
    names = [f"module.encoder.fc.{i}.weight" for i in (0, 1, 3, 4, 6)]
    heads = some(*names, "module.predictor.0.weight", "module.encoder.fc.6.bias")
    return training(prefixed(resnet(), "module.encoder.") | heads)


def supcon(prefix: str) -> Any:
    state = {
        name.replace("downsample", "shortcut"): value
        for name, value in prefixed(cifar_resnet(), prefix).items()
    }
    return {"opt": argparse.Namespace(), "model": state | some("head.0.weight"), "epoch": 1}


def swav() -> Any:
    heads = some("module.projection_head.0.weight", "module.prototypes.weight")
    return prefixed(resnet(), "module.") | heads


def swav_training() -> Any:
    return training(swav(), scheduler=None)


def barlow_full() -> Any:
    heads = some("module.projector.0.weight", "module.bn.running_mean")
    return {"epoch": 1, "model": prefixed(resnet(), "module.backbone.") | heads, "optimizer": {}}


def vicreg_full() -> Any:
    heads = some("module.projector.0.weight")
    return {"epoch": 1, "model": prefixed(resnet(), "module.backbone.") | heads, "optimizer": {}}


def dino(network: nn.Module, wrapper: str) -> Any:
    return {
        "student": wrong(network, "module.backbone.") | some("module.head.mlp.0.weight"),
        "teacher": prefixed(network, f"{wrapper}backbone.") | some(f"{wrapper}head.mlp.0.weight"),
        "args": argparse.Namespace(arch="vit_small", lr=0.1),
        "epoch": 1,
        "optimizer": {},
        "dino_loss": some("center"),
    }


def sthalles() -> Any:
    return training(prefixed(resnet(), "backbone.") | some("backbone.fc.0.weight"))


def numbered(network: nn.Module, prefix: str) -> State:
    """As torch names the parts of nn.Sequential(*network.children())."""
    children = [name for name, _ in network.named_children()]
    return {
        f"{prefix}{children.index(name.split('.')[0])}.{name.partition('.')[2]}": value
        for name, value in network.state_dict().items()
    }


def sthalles_2020() -> Any:
    return numbered(resnet(), "features.") | some("l1.weight", "l1.bias", "l2.weight")


def converted_simclr() -> Any:
    state = resnet().state_dict() | some("fc.weight", "fc.bias")
    fresh = {n: v * 0 if n.endswith("num_batches_tracked") else v for n, v in state.items()}
    return {"state_dict": fresh}


def solo() -> Any:
    heads = some("classifier.weight", "projector.0.weight", "momentum_projector.0.weight")
    copy = wrong(resnet(), "momentum_backbone.")
    return lightning(prefixed(resnet(), "backbone.") | copy | heads)


def solo_cifar() -> Any:
    heads = some("classifier.weight", "projector.0.weight")
    return lightning(prefixed(cifar_resnet(padding=2), "encoder.") | heads)


def lightly() -> Any:
    heads = some("projection_head.layers.0.weight", "online_classifier.linear.weight")
    copy = wrong(resnet(), "student_backbone.")
    return lightning(prefixed(resnet(), "backbone.") | copy | heads)


def lightly_sequential() -> Any:
    heads = some("projection_head.layers.0.weight", "prediction_head.layers.0.weight")
    copy = {name: v * 0 for name, v in numbered(resnet(), "backbone_momentum.").items()}
    return lightning(numbered(resnet(), "backbone.") | copy | heads)


class LightlyResNet(nn.Module):
    """Its own network, taken apart: what its forward does between the children is lost."""

    def __init__(self) -> None:
        super().__init__()
        whole = cifar_resnet()
        parts = [whole.conv1, whole.bn1, whole.layer1, whole.layer2, whole.layer3, whole.layer4]
        self.backbone = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x).flatten(1)


def lightly_own() -> Any:
    state = LightlyResNet().state_dict()
    own = {name.replace("downsample", "shortcut"): value for name, value in state.items()}
    return lightning(own | some("projection_head.layers.0.weight"))


def plain(network: nn.Module) -> Any:
    return network.state_dict() | some("fc.weight", "fc.bias")


def before_counters() -> Any:
    state = resnet().state_dict()
    return {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}


# name -> (what is in the file, the network, what the report calls it)
CASES: dict[str, tuple[Callable[[], Any], Callable[[], nn.Module], str]] = {
    "moco_v1": (moco_v1, resnet, "MoCo v1/v2"),
    "moco_v2": (moco_v2, resnet, "MoCo v1/v2"),
    "moco_v2_bare": (lambda: bare(moco_v2(), "state_dict"), resnet, "MoCo v1/v2"),
    "moco_stripped": (stripped, resnet, "MoCo v1/v2"),
    "moco_stripped_wrapped": (lambda: training(stripped()), resnet, "MoCo v1/v2"),
    "moco_v3_bare": (lambda: bare(moco_v3(resnet(), "fc"), "state_dict"), resnet, "MoCo v3"),
    "simsiam_bare": (lambda: bare(simsiam(), "state_dict"), resnet, "SimSiam"),
    "barlow_bare": (lambda: bare(barlow_full(), "model"), resnet, "Barlow Twins"),
    "vicreg_bare": (lambda: bare(vicreg_full(), "model"), resnet, "VICReg"),
    "moco_v3": (lambda: moco_v3(resnet(), "fc"), resnet, "MoCo v3"),
    "moco_v3_vit": (lambda: moco_v3(moco_v3_vit(), "head"), moco_v3_vit, "MoCo v3"),
    "simsiam": (simsiam, resnet, "SimSiam"),
    "supcon": (lambda: supcon("encoder."), cifar_resnet, "SupCon"),
    "supcon_parallel": (lambda: supcon("encoder.module."), cifar_resnet, "SupCon"),
    "swav": (swav, resnet, "SwAV"),
    "swav_training": (swav_training, resnet, "SwAV"),
    "barlow": (lambda: resnet().state_dict(), resnet, "a plain state dict"),
    "barlow_full": (barlow_full, resnet, "Barlow Twins"),
    "vicreg_full": (vicreg_full, resnet, "VICReg"),
    "dino_vit": (lambda: dino(vit(), ""), vit, "DINO"),
    "dino_resnet": (lambda: dino(resnet(), "module."), resnet, "DINO"),
    "dino_patch8": (lambda: vit(patch=8).state_dict(), lambda: vit(patch=8), "a plain state dict"),
    "sthalles": (sthalles, resnet, "SimCLR (sthalles)"),
    "sthalles_2020": (sthalles_2020, resnet, "SimCLR (sthalles, 2020)"),
    "converted": (converted_simclr, resnet, "SimCLR (converted)"),
    "solo": (solo, resnet, "solo-learn"),
    "solo_cifar": (solo_cifar, lambda: cifar_resnet(padding=2), "solo-learn (2021)"),
    "lightly": (lightly, resnet, "lightly"),
    "lightly_sequential": (lightly_sequential, resnet, "lightly"),
    "lightly_own": (lightly_own, lambda: LightlyResNet().eval(), "lightly"),
    "resnet18": (
        lambda: plain(resnet("resnet18")),
        lambda: resnet("resnet18"),
        "a plain state dict",
    ),
    "bottlenecks": (
        lambda: plain(resnet("thin50")),
        lambda: resnet("thin50"),
        "a plain state dict",
    ),
    "timm": (lambda: {"model": vit().state_dict()}, vit, "a plain state dict"),
    "old_torch": (before_counters, resnet, "a plain state dict"),
}


def features(network: nn.Module, images: Tensor = IMAGES) -> Tensor:
    with torch.inference_mode():
        return network(images)


def backbone_state(content: Any, case: str) -> State:
    """The dict of the file in which the backbone's weights lie."""
    if case.startswith("dino") and "teacher" in content:
        return content["teacher"]
    return content.get("state_dict", content.get("model", content))


@pytest.mark.parametrize("case", CASES)
def test_the_features_are_those_of_the_network(case: str, tmp_path: Path) -> None:
    make, network, name = CASES[case]
    path = tmp_path / "official.pth"
    torch.save(make(), path, _use_new_zipfile_serialization="old" not in case)
    loaded = load_pretrained(path)
    assert not loaded.backbone.training
    torch.testing.assert_close(features(loaded.backbone), features(network()), atol=1e-6, rtol=1e-6)
    assert f"official.pth ({name}): " in loaded.report
    again = build_backbone(loaded.config)
    again.load_state_dict(loaded.backbone.state_dict())
    assert torch.equal(features(again.eval()), features(loaded.backbone))


LAST = re.compile(r"(layer4|7|5)\.1\.bn2\.bias$|blocks\.11\.mlp\.fc2\.bias$|layer4\.2\.bn3\.bias$")


@pytest.mark.parametrize("case", CASES)
def test_a_missing_weight_of_the_backbone(case: str, tmp_path: Path) -> None:
    content = CASES[case][0]()
    state = backbone_state(content, case)
    own = [n for n in state if LAST.search(n) and not re.search("_k|momentum|student", n)]
    del state[own[-1]]
    torch.save(content, tmp_path / "official.pth")
    with pytest.raises(UserError, match=r"lacks 1 of the backbone's weights: \S+bias$") as error:
        load_backbone(tmp_path / "official.pth")
    assert "\n" not in str(error.value)


def load(content: Any, tmp_path: Path) -> Pretrained:
    torch.save(content, tmp_path / "official.pth")
    return load_pretrained(tmp_path / "official.pth")


def test_the_report_groups_what_is_left_over(tmp_path: Path) -> None:
    report = load(moco_v2(), tmp_path).report
    count = len(resnet().state_dict())
    assert f"resnet18, {count} weights loaded, none missing" in report
    assert f"encoder_q.fc 2, encoder_k {count}, queue 1, and epoch, arch, optimizer" in report
    assert "\n" not in report


@pytest.mark.parametrize(
    ("case", "size", "mean"),
    [
        ("moco_v2", 224, 0.485),
        ("converted", 224, 0.0),
        ("sthalles", 96, 0.0),
        ("supcon", 32, 0.4914),
        ("solo_cifar", 32, 0.4914),
        ("dino_vit", 64, 0.485),
    ],
)
def test_preprocessing_is_the_repositorys(
    case: str, size: int, mean: float, tmp_path: Path
) -> None:
    preprocess = load(CASES[case][0](), tmp_path).preprocess
    assert preprocess.image_size == size
    assert preprocess.mean.flatten()[0].item() == pytest.approx(mean)


# --- InstDisc: a pickled module of a class that is not here ---------------------------------------


def install(module: types.ModuleType, thing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a class importable from a module that is not there."""
    thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
    setattr(module, thing.__name__, thing)
    parts = module.__name__.split(".")
    for i in range(1, len(parts)):
        parent = ".".join(parts[:i])
        if parent not in sys.modules:
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def lemniscate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The repository's bank, as torch 0.4 pickled it, from modules that are gone afterwards."""
    average, alias = types.ModuleType("lib.NCEAverage"), types.ModuleType("lib.alias_multinomial")
    backends = types.ModuleType("torch.nn.backends.thnn")

    class AliasMethod:
        def __init__(self) -> None:
            self.prob, self.alias = torch.ones(5), torch.zeros(5, dtype=torch.long)

    class NCEAverage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.multinomial = AliasMethod()
            self.register_buffer("memory", torch.rand(5, 3))
            self._backend = Backend()

    class Backend:
        def __reduce__(self) -> tuple[Any, tuple[()]]:
            return _get_thnn_function_backend, ()

    def _get_thnn_function_backend() -> Any:
        return None

    install(average, NCEAverage, monkeypatch)
    install(alias, AliasMethod, monkeypatch)
    install(backends, _get_thnn_function_backend, monkeypatch)
    return NCEAverage()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [False, True])
def test_instdisc(
    lemniscate: Any, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = prefixed(resnet(), "module.") | some("module.fc.weight", "module.fc.bias")
    content = training(state, lemniscate=lemniscate, best_prec1=0.4)
    path = tmp_path / "lemniscate.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    for name in ("lib.NCEAverage", "lib.alias_multinomial", "torch.nn.backends.thnn"):
        monkeypatch.delitem(sys.modules, name)
    loaded = load_pretrained(path)
    torch.testing.assert_close(features(loaded.backbone), features(resnet()), atol=1e-6, rtol=0)
    assert "(InstDisc)" in loaded.report
    assert "lemniscate" in loaded.report


def test_instdisc_on_cifar(tmp_path: Path) -> None:
    state = {
        name.replace("downsample", "shortcut"): value
        for name, value in prefixed(cifar_resnet(), "module.").items()
    }
    content = {"net": state | some("module.linear.weight"), "lemniscate": {}, "acc": 0.8}
    loaded = load(content, tmp_path)
    torch.testing.assert_close(features(loaded.backbone), features(cifar_resnet()))
    assert loaded.preprocess.image_size == 32


# --- BYOL: haiku's trees, and padding as JAX does -------------------------------------------------


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """lax.padtype_to_pads("SAME"), one side at a time."""
    for dim in (3, 2):
        size = x.shape[dim]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before = [0, 0] * (3 - dim) + [total // 2, total - total // 2]
        x = F.pad(x, before)
    return x


def byol_features(state: State, x: Tensor) -> Tensor:
    """The forward pass of networks.py and haiku's BlockV1, in functions."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(pad_same(x, weight.shape[-1], stride), weight, stride=stride)

    x = F.relu(norm(conv(x, "conv1", 2), "bn1"))
    x = F.max_pool2d(pad_same(x, 3, 2), 3, 2)
    for group, blocks in enumerate((3, 4, 6, 3), start=1):
        for i in range(blocks):
            name, stride = f"layer{group}.{i}", 2 if group > 1 and i == 0 else 1
            shortcut = x
            if i == 0:
                shortcut = conv(x, f"{name}.downsample.0", stride)
                shortcut = norm(shortcut, f"{name}.downsample.1")
            x = F.relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            x = F.relu(norm(conv(x, f"{name}.conv2", stride), f"{name}.bn2"))
            x = F.relu(norm(conv(x, f"{name}.conv3"), f"{name}.bn3") + shortcut)
    return x.mean(dim=(2, 3))


def haiku_trees(state: State) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and state under haiku's names, in its shapes."""
    params: dict[str, Any] = {"projector/linear": {"w": np.ones((3, 4), np.float32)}}
    averages: dict[str, Any] = {}
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        layer = module.split(".")
        where = "res_net50/~/"
        if layer[0].startswith("layer"):
            where += f"block_group_{int(layer[0][-1]) - 1}/~/block_{layer[1]}/~/"
        last, number = layer[-1], layer[-1][-1]
        if "downsample" in module:
            where += "shortcut_conv" if last == "0" else "shortcut_batchnorm"
        elif len(layer) == 1:
            where += "initial_conv" if last.startswith("conv") else "initial_batchnorm"
        else:
            where += ("conv_" if last.startswith("conv") else "batchnorm_") + str(int(number) - 1)
        array = value.numpy()
        if array.ndim == 4:
            params[where] = {"w": np.ascontiguousarray(array.transpose(2, 3, 1, 0))}
        elif leaf in ("weight", "bias"):
            key = "scale" if leaf == "weight" else "offset"
            params.setdefault(where, {})[key] = array.reshape(1, 1, 1, -1)
        elif leaf.startswith("running"):
            kind = "mean_ema" if leaf == "running_mean" else "var_ema"
            mean = array.reshape(1, 1, 1, -1)
            averages[f"{where}/~/{kind}"] = {
                "counter": np.int32(3),
                "hidden": mean * 0,
                "average": mean,
            }
    return params, averages


@pytest.fixture
def byol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file as checkpointing.py wrote it: protocol 2, haiku's mappings, the repository's tuple."""
    haiku, experiment = (
        types.ModuleType("haiku._src.data_structures"),
        types.ModuleType("byol.byol_experiment"),
    )

    class FlatMapping:
        def __init__(self, mapping: Any) -> None:
            self.mapping = mapping

        def __reduce__(self) -> tuple[Any, tuple[Any]]:
            return FlatMapping, (self.mapping,)

    class _ByolExperimentState(NamedTuple):
        online_params: Any
        target_params: Any
        online_state: Any
        target_state: Any
        opt_state: Any

    class TraceState(NamedTuple):
        trace: Any

    optax = types.ModuleType("optax._src.transform")
    install(optax, TraceState, monkeypatch)
    install(haiku, FlatMapping, monkeypatch)
    install(experiment, _ByolExperimentState, monkeypatch)

    params, averages = haiku_trees(resnet("thin50").state_dict())
    other = {name: {k: v * 0 for k, v in leaves.items()} for name, leaves in params.items()}

    def flat(tree: dict[str, Any]) -> FlatMapping:
        return FlatMapping({name: FlatMapping(leaves) for name, leaves in tree.items()})

    optimizer = (TraceState(flat(other)),)
    state = _ByolExperimentState(flat(params), flat(other), flat(averages), flat({}), optimizer)
    path = tmp_path / "pretrain_res50x1.pkl"
    rng = np.zeros(2, np.uint32)
    path.write_bytes(pickle.dumps({"experiment_state": state, "step": 9, "rng": rng}, protocol=2))
    for name in ("haiku._src.data_structures", "byol.byol_experiment", optax.__name__):
        monkeypatch.delitem(sys.modules, name)
    return path


def test_byol(byol: Path) -> None:
    loaded = load_pretrained(byol)
    state = resnet("thin50").state_dict()
    for side in (64, 75):
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        expected = byol_features(state, images)
        scale = expected.abs().max()
        found = features(loaded.backbone, images) / scale
        torch.testing.assert_close(found, expected / scale, atol=1e-6, rtol=1e-5)
        torchs = features(resnet("thin50"), images) / scale
        assert not torch.allclose(torchs, expected / scale, atol=1e-3)
    assert "(BYOL): resnet50" in loaded.report
    assert "projector/linear 1" in loaded.report


# --- what is refused ------------------------------------------------------------------------------


def refused(content: Any, tmp_path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        load(content, tmp_path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "official.pth"))


def test_an_unknown_layout(tmp_path: Path) -> None:
    content = {"weights": some("a.b"), "step": 1}
    refused(
        content, tmp_path, r"begins with weights, step\): known are BYOL, MoCo v1/v2, .*lightly"
    )


def test_a_bare_state_dict_that_could_be_solo_learns(tmp_path: Path) -> None:
    """Its 3x3 stem pads otherwise than VICReg's names would say."""
    state = bare(solo_cifar(), "state_dict")
    heads = {name: value for name, value in state.items() if not name.startswith("encoder.")}
    refused(prefixed(cifar_resnet(), "backbone.") | heads, tmp_path, "its layout is unknown")


def test_keys_do_not_reach_the_terminal(tmp_path: Path) -> None:
    nested: Any = ()
    for _ in range(22):
        nested = (nested, nested)  # its text would have 29 million characters
    content = {nested: 1, "a\n\x1b[2J\u202e": 2, "b" * 50: 3}
    first = r"begins with tuple, a\\n\\x1b\[2J\\u202e, b{40}\): known"
    refused(content, tmp_path, first)
    report = load(training(plain(resnet())) | {nested: 1, "\x1b": 2}, tmp_path).report
    assert "optimizer, tuple, \\x1b; images" in report
    state = resnet().state_dict()
    assert "left over: \\n\\x1b 1;" in load(state | some("\n\x1b.a"), tmp_path).report
    refused(state | some("layer1.\n\x1b"), tmp_path, r"it has layer1\.\\n\\x1b besides")


USELESS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "nan": (lambda w: w * torch.nan, "holds NaN or infinite numbers"),
    "infinite": (lambda w: w + torch.inf, "holds NaN or infinite numbers"),
    "complex": (lambda w: w + 0j, "holds complex64 numbers where float32 was expected"),
    "integer": (lambda w: w.long(), "holds int64 numbers where float32 was expected"),
    "bool": (lambda w: w > 0, "holds bool numbers where float32 was expected"),
    "sparse": (lambda w: w.to_sparse(), "is no plain tensor of the file"),
    "meta": (lambda w: w.to("meta"), "is no plain tensor of the file"),
}


@pytest.mark.parametrize("what", USELESS)
def test_useless_weights(what: str, tmp_path: Path) -> None:
    change, said = USELESS[what]
    state = resnet().state_dict()
    state["layer3.0.bn1.weight"] = change(state["layer3.0.bn1.weight"])
    refused(state, tmp_path, rf"layer3\.0\.bn1\.weight {said}$")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:TypedStorage is deprecated")
def test_quantized_weights(tmp_path: Path) -> None:
    state = resnet().state_dict()
    state["conv1.weight"] = torch.quantize_per_tensor(state["conv1.weight"], 0.1, 0, torch.qint8)
    refused(state, tmp_path, r"conv1\.weight is no plain tensor of the file$")


def test_halves_and_averaged_counters_load(tmp_path: Path) -> None:
    state = {name: value.half() for name, value in resnet().state_dict().items()}
    weights = load(state, tmp_path).backbone.state_dict()
    assert weights["bn1.num_batches_tracked"] == 7
    assert torch.equal(weights["conv1.weight"], state["conv1.weight"].float())


@pytest.mark.parametrize("change", ["depth", "width", "stem", "block", "more"])
def test_another_resnet(change: str, tmp_path: Path) -> None:
    state = resnet().state_dict()
    if change == "depth":
        state = {name: v for name, v in state.items() if not name.startswith("layer3.1.")}
    elif change == "width":
        state["conv1.weight"] = torch.ones(6400, 3, 7, 7)
    elif change == "stem":
        state["conv1.weight"] = torch.ones(16, 3, 5, 5)
    elif change == "block":
        state["layer1.0.conv1.weight"] = torch.ones(32, 16, 3, 3)
    else:
        state["layer1.0.se.fc.weight"] = torch.ones(3, 3)
    refused(state, tmp_path, "is no known architecture: ")


@pytest.mark.parametrize("change", ["width", "tokens", "depth", "scale"])
def test_another_vit(change: str, tmp_path: Path) -> None:
    state = vit().state_dict()
    if change == "width":
        state["patch_embed.proj.weight"] = torch.ones(200, 3, 16, 16)
    elif change == "tokens":  # a distillation token
        state["pos_embed"] = torch.ones(1, 18, 192)
    elif change == "depth":
        state["blocks.12.norm1.weight"] = torch.ones(192)
    else:  # DINOv2
        state["blocks.0.ls1.gamma"] = torch.ones(192)
    refused(state, tmp_path, "is no known architecture: ")


def test_a_tensor_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    state = resnet().state_dict()
    state["conv1.weight"] = torch.ones(1).expand(16, 3, 7, 7)
    refused(state, tmp_path, "conv1.weight is no plain tensor of the file")
