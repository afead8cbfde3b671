"""Fine-tuning: what it trains, at which rates, and what it leaves alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from helpers.protocols import protocol, small_candidate, small_net
from ssl_zoo.backbones import SmallResNet, torchvision_backbone
from ssl_zoo.data import Augmentation
from ssl_zoo.data.samplers import epoch_order
from ssl_zoo.evaluation import fraction_of
from ssl_zoo.protocols import finetune
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.finetune import Finetune, layers
from ssl_zoo.types import UserError

QUICK = {"fractions": [0.5], "epochs": [2], "batch_size": 32, "learning_rates": [0.05]}


def trained(monkeypatch: pytest.MonkeyPatch, run: Finetune, candidate: Candidate) -> nn.Module:
    """The network that a protocol reads test with."""
    seen: list[nn.Module] = []
    judge = finetune._judge

    def note(network: nn.Module, *args: Any) -> tuple[float, float]:
        seen.append(network)
        return judge(network, *args)

    monkeypatch.setattr(finetune, "_judge", note)
    run.score(candidate)
    return seen[-1]


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 in the backbone, so that the loops agree closely."""
    monkeypatch.setattr("ssl_zoo.hardware.has_native_bf16", lambda device: False)


# --- what it does ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_equals_a_plain_loop(
    exact: None, monkeypatch: pytest.MonkeyPatch, layer_decay: float
) -> None:
    candidate = small_candidate()
    run = protocol("finetune", **QUICK, weight_decay=0.1, layer_decay=layer_decay)
    network = trained(monkeypatch, run, candidate)

    labels = candidate.data.train.labels
    rows = fraction_of(labels, 0.5, 0)
    views = Augmentation(
        size=16,
        num_views=1,
        order=["crop", "flip"],
        mean=[0.4, 0.5, 0.6],
        std=[0.2, 0.3, 0.4],
        seed=0,
    )
    backbone, head = copy.deepcopy(candidate.backbone), nn.Linear(16, 5)
    head.weight.data.normal_(std=0.01, generator=torch.Generator().manual_seed(0))
    head.bias.data.zero_()
    rates = {"layers.0.": 0.05 * layer_decay**2, "layers.1.": 0.05 * layer_decay**2}
    rates |= {"layers.3.": 0.05 * layer_decay, "layers.4.": 0.05 * layer_decay}
    groups = [
        {"params": [p for n, p in backbone.named_parameters() if n.startswith(prefix)], "lr": rate}
        for prefix, rate in rates.items()
    ]
    optimizer = torch.optim.SGD(
        [*groups, {"params": head.parameters(), "lr": 0.05}],
        momentum=0.9,
        nesterov=True,
        weight_decay=0.1,
    )
    steps = 2 * (80 // 32)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    backbone.train()
    for epoch in range(2):
        order = epoch_order(80, 0, epoch)
        for i in range(80 // 32):
            index = order[32 * i : 32 * (i + 1)]
            (view,) = views(candidate.data.train.batch(rows[index]), index, epoch)
            optimizer.zero_grad()
            cross_entropy(head(backbone(view)), labels[rows[index]]).backward()
            optimizer.step()
            schedule.step()
    ours, plain = network.state_dict(), nn.Sequential(backbone, head).state_dict()
    assert ours.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_trains_all_and_leaves_the_tasks_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = small_candidate(small_net().requires_grad_(False))
    before = copy.deepcopy(candidate.backbone.state_dict())
    random = torch.get_rng_state()
    network: Any = trained(monkeypatch, protocol("finetune", **QUICK), candidate)
    assert torch.equal(torch.get_rng_state(), random)
    after = candidate.backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in candidate.backbone.parameters())
    new = network[0].state_dict()
    assert not [name for name, value in before.items() if torch.equal(new[name], value)]
    assert float(network[1].bias.detach().abs().min()) > 0


def test_row() -> None:
    run = protocol(
        "finetune", fractions=[0.1, 1.0], epochs=[2, 8], batch_size=32, learning_rates=[1e-5, 0.1]
    )
    candidate = small_candidate()
    row = run.score(candidate)
    assert [row[f"num_labels_{name}"] for name in ("10pct", "100pct")] == [15, 160]
    assert row["chosen_on"] == "val"
    assert row["learning_rate_100pct"] == 0.1
    assert row["test_top1_100pct"] > 0.5
    assert run.score(small_candidate()) == row
    assert run.headline == "test_top1_10pct"
    assert run.columns[:2] == ("test_top1_10pct", "test_top1_100pct")
    assert run.columns[2:] == ("test_balanced_top1_10pct", "test_balanced_top1_100pct")
    assert candidate.encoded.features is None  # nothing is encoded with the frozen backbone
    assert candidate.num_encoded == 0


def test_test_is_read_once_and_chooses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = small_candidate()
    reads: list[int] = []
    loader = candidate.data.test_dataloader
    monkeypatch.setattr(candidate.data, "test_dataloader", lambda: reads.append(1) or loader())
    run = protocol("finetune", **{**QUICK, "learning_rates": [1e-5, 0.1]})
    row = run.score(candidate)
    assert len(reads) == 1
    candidate.data.test.labels.copy_(4 - candidate.data.test.labels)
    other = run.score(candidate)
    assert other["test_top1_50pct"] != row["test_top1_50pct"]
    chosen, same = ({k: v for k, v in r.items() if "test" not in k} for r in (row, other))
    assert chosen == same != {}


def test_fractions_are_few_shots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images that are trained on are those of the same draw."""
    candidate, seen = small_candidate(), []
    batch = candidate.data.train.batch
    base = type(candidate.data.train)

    def note(self: Any, index: Tensor) -> Tensor:
        images: Tensor = batch_of(self, index)
        if self.rows is not None and len(self) == 15:
            seen.append(self.rows)
        return images

    batch_of = base.batch
    monkeypatch.setattr(base, "batch", note)
    protocol("finetune", **{**QUICK, "fractions": [0.1]}, draw=3).score(candidate)
    monkeypatch.undo()
    assert seen
    expected = batch(fraction_of(candidate.data.train.labels, 0.1, 3))
    assert torch.equal(candidate.data.train.images[seen[0]], expected)


def test_dropout_repeats_and_leaves_the_global_generator_alone() -> None:
    net = small_net()
    net.layers.append(nn.Dropout2d(0.5))
    state = torch.get_rng_state()
    first = protocol("finetune", **QUICK).score(small_candidate(net))
    torch.rand(3)
    assert protocol("finetune", **QUICK).score(small_candidate(net)) == first
    torch.set_rng_state(state)


# --- rates that diverge ---------------------------------------------------------------------------


def test_a_rate_that_diverges_loses(caplog: pytest.LogCaptureFixture) -> None:
    row = protocol("finetune", **{**QUICK, "learning_rates": [1e30, 0.05]}).score(small_candidate())
    assert row["learning_rate_50pct"] == 0.05
    assert row["diverged_50pct"] == [1e30]
    assert "fine-tuning on 50pct diverged at learning rates [1e+30]" in caplog.text
    alone = protocol("finetune", **QUICK).score(small_candidate())
    assert alone["test_top1_50pct"] == row["test_top1_50pct"]
    with pytest.raises(
        UserError, match=r"learning_rates=\[1e\+30\] makes the loss of pretrained infinite"
    ):
        protocol("finetune", **{**QUICK, "learning_rates": [1e30]}).score(small_candidate())


# --- layers ---------------------------------------------------------------------------------------


def names_by_layer(backbone: nn.Module) -> list[set[str]]:
    name_of = {id(parameter): name for name, parameter in backbone.named_parameters()}
    found = [{name_of[id(parameter)] for parameter in layer} for layer in layers(backbone)]
    assert sum(map(len, found)) == len(name_of)  # each parameter once
    return found


def test_layers_of_a_torchvision_resnet() -> None:
    found = names_by_layer(torchvision_backbone("resnet18"))
    assert found[0] == {"conv1.weight", "bn1.weight", "bn1.bias"}
    blocks = [f"layer{stage}.{block}." for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert len(found) == 9
    for names, block in zip(found[1:], blocks, strict=True):
        assert all(name.startswith(block) for name in names)


def test_layers_of_small_nets() -> None:
    found = names_by_layer(small_net())
    assert found[0] == {"layers.0.weight", "layers.1.weight", "layers.1.bias"}
    assert found[1] == {"layers.3.weight", "layers.4.weight", "layers.4.bias"}
    assert len(found) == 2
    assert len(names_by_layer(SmallResNet((4, 4, 8)))) == 4  # a stem and three blocks


def test_layers_of_timm() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=3, img_size=32)
    found = names_by_layer(vit)
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight"} <= found[0]
    for i in range(3):
        assert f"blocks.{i}.attn.qkv.weight" in found[i + 1]
    assert len(found) == 4


def test_rates_by_layer() -> None:
    run: Finetune = protocol("finetune", layer_decay=0.5)
    network = nn.Sequential(SmallResNet((4, 4, 8)), nn.Linear(8, 3))
    groups = run.param_groups(network, 0.8)
    assert [group["lr"] for group in groups] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8])
    assert groups[-1]["params"] == list(network[1].parameters())
    uniform = protocol("finetune").param_groups(network, 0.8)
    assert {group["lr"] for group in uniform} == {0.8}


# --- knobs ----------------------------------------------------------------------------------------


def test_simclrs_setting() -> None:
    run = protocol("finetune")
    assert run.epochs == {0.01: 60, 0.1: 30, 1.0: 30}
    assert run.learning_rates == pytest.approx([0.01, 0.05, 0.25])
    assert protocol("finetune", batch_size=4096).learning_rates[1] == pytest.approx(0.8)
    assert (run.weight_decay, run.layer_decay, run.floors) == (0.0, 1.0, ("random init",))


def test_user_errors() -> None:
    for knobs, said in (
        ({"epochs": [3]}, r"epochs=\[3\]: must be a number of at least 1 for each of"),
        ({"epochs": 3}, r"epochs=3: must be a list, such as \[3\]"),
        ({"learning_rates": []}, r"learning_rates=\[\]: must be a list of at least one"),
        ({"layer_decay": 1.5}, r"layer_decay=1.5: must be above 0 and at most 1"),
    ):
        with pytest.raises(UserError, match=said):
            protocol("finetune", **knobs)
