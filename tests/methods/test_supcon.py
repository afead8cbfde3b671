"""SupCon against the paper's loss, written out pair by pair; its schedule."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers.configs import Make
from helpers.files import write_image
from helpers.golden import golden
from helpers.pseudo_code import LR, Case, Net, Trained, batches, crops, descend, unit
from helpers.steps import HEAD, Normed, net
from ssl_zoo.losses import InfoNCE, SupervisedContrastive
from ssl_zoo.methods import Method, SupCon
from ssl_zoo.modules import MLP
from ssl_zoo.optim import cosine_by_epoch
from ssl_zoo.train import train
from ssl_zoo.types import BadValue, Facts, MultiViewBatch, UserError

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.slow
def test_rates_are_the_official_codes() -> None:
    """Epochs count from 1; a warm-up by step ends where the cosine is, which falls to lr / 1000."""
    settings, expected = (golden("supcon/lr_cosine_warmup")[k] for k in ("settings", "expected"))
    steps, epochs, lr = (settings[k] for k in ("steps_per_epoch", "epochs", "lr"))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    factor = cosine_by_epoch(
        optimizer,
        total_steps=steps * epochs,
        epochs=epochs,
        first_epoch=1,
        final=settings["lr_decay_rate"] ** 3,
        warmup_epochs=settings["warm_epochs"],
        warmup_from=settings["warmup_from"] / lr,
    ).lr_lambdas[0]
    places = golden("supcon/lr_cosine_warmup")["inputs"]["epoch_step"]
    for (epoch, step), rate in zip(places, expected["lr"], strict=True):
        assert lr * factor((epoch - 1) * steps + step) == pytest.approx(rate, rel=1e-9)


@pytest.mark.slow
def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(BadValue, match=r"^warmup_epochs=11: must be at most epochs=10$"):
        cosine_by_epoch(optimizer, total_steps=20, epochs=10, warmup_epochs=11)


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.slow
def test_images_without_labels_are_refused(make_config: Make, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    for seed in range(24):
        write_image(flat / f"{seed}.png", seed, (40, 40))
    chosen = ["method=supcon", "dataset=folder", f"dataset.root={flat}", "dataset.num_workers=0"]
    with pytest.raises(
        UserError, match=r"^SupCon needs labels, but these images have none: give each"
    ):
        train(
            make_config("name=test", *chosen, "dataset.image_size=32", "batch_size=4", tiny=False)
        )


@pytest.mark.parametrize("loss", [None, "supcon", SupervisedContrastive])
def test_what_is_no_loss_is_refused(loss: Any) -> None:
    with pytest.raises(UserError, match=r"^loss: "):
        SupCon(net(), HEAD, loss)


@pytest.mark.slow
def test_other_parts_are_refused(make_config: Make) -> None:
    with pytest.raises(
        UserError, match=r"^SupCon needs labels, but these images have none: give each"
    ):
        SupCon(net(), HEAD, SupervisedContrastive(), facts=Facts(num_classes=0))
    with pytest.raises(UserError, match=r"^SupCon takes a labelled loss, not InfoNCE: choose"):
        SupCon(net(), HEAD, InfoNCE())
    with pytest.raises(UserError, match=r"num_views=1, but SupCon takes 2"):
        train(make_config("method=supcon", "augmentation.num_views=1"))


def test_classes_of_one_image_each_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        SupCon(net(), HEAD, SupervisedContrastive(), facts=Facts(num_images=9, num_classes=3))
        assert not caplog.messages
        SupCon(net(), HEAD, SupervisedContrastive(), facts=Facts(num_images=9, num_classes=9))
    assert "each class has one image" in caplog.text


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two() -> Method:
    return SupCon(net(), HEAD, SupervisedContrastive(0.2))


TWO_PROCESSES = {"supcon": on_two}
RUNS_OF_TWO = {"supcon": ["method=supcon", "method.hidden_dim=16", "callbacks=none"]}
RESUMES = {"supcon": ["method=supcon", "method.hidden_dim=16", "method.embed_dim=16"]}

TEMPERATURE, BASE = 0.2, 0.07


def make(backbone: type[nn.Module] = Net) -> Method:
    def projector(in_dim: int) -> nn.Module:
        return MLP(in_dim, out_dim=4, hidden_dim=6, hidden_norm=False)

    return SupCon(backbone(), projector, SupervisedContrastive(TEMPERATURE, BASE))


def labelled(made: Callable[[], list[MultiViewBatch]] = batches) -> list[MultiViewBatch]:
    """Three classes, one of which is an image alone."""
    label = torch.tensor([0, 1, 0, 1, 1, 2, 0, 1])
    return [batch._replace(label=label) for batch in made()]


def equation_2(method: Method, data: Callable[[], list[MultiViewBatch]] = labelled) -> Trained:
    f = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    optimizer = torch.optim.SGD(f.parameters(), lr=LR, momentum=0.9)
    losses = []
    for batch in data():
        sizes = [views for views in (batch.views[:2], batch.views[2:]) if views]
        z = unit(f[1](torch.cat([f[0](torch.cat(views)) for views in sizes])))  # a pass for each
        label = batch.label.repeat(len(batch.views)).tolist()
        rows = range(len(z))
        loss = torch.zeros(())
        for i in rows:
            terms = {a: (z[i] @ z[a] / TEMPERATURE) for a in rows if a != i}
            total = torch.stack(list(terms.values())).exp().sum()
            positives = [p for p in terms if label[p] == label[i]]
            for p in positives:
                log_p = terms[p] - total.log()
                loss = loss - TEMPERATURE / BASE * log_p / len(positives) / len(z)
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": f}


of_crops = partial(labelled, crops)
PSEUDO_CODE = {
    "supcon": Case(make, equation_2, labelled),
    "supcon_multi_crop": Case(partial(make, Normed), partial(equation_2, data=of_crops), of_crops),
}
