"""The probe on augmented images, with its presets."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from helpers.protocols import colours, protocol, small_candidate, small_net
from helpers.tiers import every
from ssl_zoo.data import Augmentation, DataModule
from ssl_zoo.data.images import FileImages, Splits
from ssl_zoo.data.samplers import epoch_order
from ssl_zoo.protocols.candidate import Candidate, Encoded
from ssl_zoo.protocols.linear_augmented import LinearAugmented
from ssl_zoo.types import UserError

QUICK = {"epochs": 2, "batch_size": 32}


class Probe(nn.Module):
    """Keeps what it was shown, by mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        self.seen.append(images.clone())
        features: Tensor = self.net(images)
        return features


def plain_loop(candidate: Candidate, knobs: dict[str, Any], rate_of: Any, step: Any) -> nn.Linear:
    """One head by autograd on the same batches, made here again from order and crops."""
    labels = candidate.data.train.labels
    views = Augmentation(
        size=16,
        num_views=1,
        order=["crop", "flip"],
        mean=[0.4, 0.5, 0.6],
        std=[0.2, 0.3, 0.4],
        seed=candidate.seed,
    )
    head = nn.Linear(16, 5)
    generator = torch.Generator().manual_seed(candidate.seed)
    head.weight.data = (0.01 * torch.randn(16, 5, generator=generator)).T.contiguous()
    head.bias.data.zero_()
    size = knobs["batch_size"]
    per_epoch = len(labels) // size
    for epoch in range(knobs["epochs"]):
        order = epoch_order(len(labels), candidate.seed, epoch)
        for i in range(per_epoch):
            index = order[i * size : (i + 1) * size]
            (view,) = views(candidate.data.train.batch(index), index, epoch)
            with torch.no_grad():
                features = candidate.backbone(view)
            head.zero_grad()
            cross_entropy(head(features), labels[index]).backward()
            step(head, rate_of(epoch, i, per_epoch))
    return head


class Momentum:
    """SGD with momentum 0.9, each gradient scaled by LARC's ratio where it is asked for."""

    def __init__(self, lars: bool) -> None:
        self.lars, self.velocity = lars, {}

    def __call__(self, head: nn.Linear, rate: float) -> None:
        for name, parameter in head.named_parameters():
            gradient, norm = parameter.grad, float(parameter.detach().norm())
            if self.lars and norm > 0:
                gradient = gradient * 0.001 * norm / gradient.norm()
            self.velocity[name] = 0.9 * self.velocity.get(name, 0) + gradient
            parameter.data -= rate * self.velocity[name]


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 in the backbone, so that the loops agree closely."""
    monkeypatch.setattr("ssl_zoo.hardware.has_native_bf16", lambda device: False)


def head_of(
    monkeypatch: pytest.MonkeyPatch, run: Any, candidate: Candidate
) -> tuple[Tensor, Tensor]:
    """The head that a protocol reads test with."""
    kept = []

    def keep(grid: Any, *args: Any) -> dict[str, Any]:
        kept.append(grid)
        return {}

    monkeypatch.setattr("ssl_zoo.protocols.linear_augmented.grid_row", keep)
    run.score(candidate)
    return kept[0].weight, kept[0].bias


def test_mocos_preset_is_a_plain_loop(exact: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run, candidate = (
        protocol("linear_augmented_moco", epochs=3, schedule=[1, 2], batch_size=50),
        small_candidate(),
    )
    weight, bias = head_of(monkeypatch, run, candidate)
    knobs = {"epochs": 3, "batch_size": 50}
    head = plain_loop(candidate, knobs, lambda epoch, i, n: 30 * 0.1**epoch, Momentum(lars=False))
    torch.testing.assert_close(weight, head.weight.detach().T, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(bias, head.bias.detach(), rtol=1e-3, atol=1e-4)


def test_simsiams_preset_is_a_plain_loop(exact: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run, candidate = (
        protocol("linear_augmented_simsiam", epochs=3, batch_size=64),
        small_candidate(),
    )
    weight, bias = head_of(monkeypatch, run, candidate)

    def rate(epoch: int, i: int, n: int) -> float:
        return 0.1 * 64 / 256 * (1, 0.75, 0.25)[epoch]  # (1 + cos(pi e / 3)) / 2

    head = plain_loop(candidate, {"epochs": 3, "batch_size": 64}, rate, Momentum(lars=True))
    torch.testing.assert_close(weight, head.weight.detach().T, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(bias, head.bias.detach(), rtol=1e-4, atol=1e-7)


def test_published_presets() -> None:
    moco, simsiam = protocol("linear_augmented_moco"), protocol("linear_augmented_simsiam")
    assert (moco.learning_rates, moco.weight_decays, moco.epochs) == ([30.0], [0.0], 100)
    assert (moco.schedule, moco.batch_size, moco.standardize) == ([60, 80], 256, False)
    assert [moco._factor(epoch * 5, 5) for epoch in (0, 59, 60, 80)] == pytest.approx(
        [1, 1, 0.1, 0.01]
    )
    assert (simsiam.learning_rates, simsiam.optimizer, simsiam.epochs) == ([1.6], "lars", 90)
    assert simsiam._factor(89, 90) == 1  # by epoch, not by step


def test_other_crops_each_epoch_and_clean_val() -> None:
    candidate = small_candidate(Probe())
    clean = candidate.features
    probe: Any = candidate.backbone
    shown = len(probe.seen)
    protocol("linear_augmented", epochs=2, batch_size=80).score(candidate)
    first, second = (torch.cat(probe.seen[shown + i : shown + i + 2]) for i in (0, 2))
    assert len(probe.seen) == shown + 4  # train twice; val and test no more
    order = [epoch_order(160, 0, epoch).argsort() for epoch in (0, 1)]
    same = (first[order[0]] - second[order[1]]).abs().amax((1, 2, 3)) < 1e-3
    assert same.sum() < 5
    assert torch.equal(candidate.features.val.representation, clean.val.representation)


FROZEN = {
    "knn": {},
    "linear": {"epochs": 2},
    "logistic": {"strengths": [1.0]},
    "few_shot": {"fractions": [0.1], "per_class": []},
    "retrieval": {},
    "embed": {"formats": ["npz"]},
}


@pytest.mark.parametrize(("name", "knobs"), every(2, FROZEN.items()))
def test_features_leave_the_backbone_as_it_is(
    name: str, knobs: dict[str, Any], tmp_path: Path
) -> None:
    candidate = small_candidate(small_net().train(), folder=tmp_path)
    before = copy.deepcopy(candidate.backbone.state_dict())
    assert protocol(name, **knobs).score(candidate)
    assert candidate.num_encoded == 260
    after = candidate.backbone.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", ["linear_augmented", "linear_augmented_moco"])
def test_the_frozen_backbone_is_bit_identical(name: str) -> None:
    candidate = small_candidate(small_net().train())  # in whatever mode it comes
    before = copy.deepcopy(candidate.backbone.state_dict())
    row = protocol(name, **QUICK).score(candidate)
    after = candidate.backbone.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert any("running_mean" in key for key in before)
    assert all(parameter.grad is None for parameter in candidate.backbone.parameters())
    assert 0 <= row["test_top1"] <= 1
    assert len(row["test_top1_by_class"]) == 5


def test_augmented_chooses_on_val_and_the_global_generator_rests() -> None:
    candidate = small_candidate()
    state = torch.get_rng_state()
    grid = {"learning_rates": [1e-6, 0.05], "weight_decays": [0.0]}
    run = protocol("linear_augmented", epochs=20, batch_size=32, **grid)
    row = run.score(candidate)
    assert torch.equal(torch.get_rng_state(), state)
    wrong = candidate.features.test._replace(label=4 - candidate.features.test.label)
    turned = Encoded(candidate.features._replace(test=wrong))
    other = run.score(replace(candidate, encoded=turned))
    assert row["learning_rate"] == other["learning_rate"] == 0.05
    assert row["val_top1"] == other["val_top1"] > 0.4
    assert row["test_top1"] != other["test_top1"]


@pytest.mark.parametrize("name", every(2, ["linear_augmented", "finetune"]))
def test_files_of_mixed_sizes(tmp_path: Path, name: str) -> None:
    """Workers crop what the device flips; the same colours are learned."""
    files = []
    for count, seed in ((60, 0), (30, 1)):
        tensors, paths = colours(count, seed), []
        for i, image in enumerate(tensors.batch(torch.arange(count))):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((16 + i % 3, 20))
            paths.append(str(tmp_path / f"{seed}_{i}.png"))
            picture.save(paths[-1])
        files.append(FileImages(paths, tensors.labels))
    files[0].labels[::4] = -1  # unlabelled images are passed over
    data = DataModule(
        Splits(*files, list("abcde")), Augmentation, image_size=16, val_fraction=0.3, num_workers=0
    )
    candidate = small_candidate(make_data=lambda: data)
    knobs = {"epochs": 12} if name == "linear_augmented" else {"epochs": [20], "fractions": [1.0]}
    row = protocol(name, batch_size=8, learning_rates=[0.05], **knobs).score(candidate)
    assert row[protocol(name, **knobs).headline] > 0.5


def test_raw_pixels_have_no_parameters() -> None:
    row = protocol("linear_augmented", **QUICK).score(small_candidate(nn.Flatten()))
    assert 0 <= row["test_top1"] <= 1


def test_user_errors() -> None:
    with pytest.raises(UserError, match=r"batch_size=4096: must be at most 160, the number of lab"):
        protocol("linear_augmented_simsiam").check(small_candidate().data)
    with pytest.raises(UserError, match=r"schedule=linear: must be cosine, .* or a list of epochs"):
        protocol("linear_augmented", schedule="linear")
    with pytest.raises(UserError, match=r"optimizer=adam: must be sgd or lars"):
        protocol("linear_augmented", optimizer="adam")
    with pytest.raises(UserError, match=r"epochs=0: must be at least 1"):
        protocol("linear_augmented", epochs=0)
    with pytest.raises(UserError, match=r"batch_size=1: must be at least 2"):
        protocol("linear_augmented", batch_size=1)
    with pytest.raises(UserError, match=r"learning_rates=0.1: must be a list, such as \[0.1\]"):
        LinearAugmented(0.1, [0.0], 1, 2, "sgd", "cosine", True, 0.0, [0.1, 1.0])  # type: ignore[arg-type]
