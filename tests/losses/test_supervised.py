"""SupCon's loss against the official code's values, and the wrong forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.golden import assert_golden, golden, golden_names, tensor, wrong_forms, wrong_value
from helpers.tiers import only
from ssl_zoo.losses import InfoNCE, SupervisedContrastive
from ssl_zoo.modules import InBatch
from ssl_zoo.types import BadValue, UserError

ENTRIES = [name for name in golden_names("supcon/") if "lr_" not in name]


def views(name: str) -> tuple[Tensor, Tensor]:
    """(V, N, D) with gradient, and labels: -1 where there are none."""
    inputs = golden(name)["inputs"]
    z = tensor(inputs["features"]).transpose(0, 1).clone().requires_grad_()
    labels = inputs["labels"] or [-1] * z.shape[1]
    return z, torch.tensor(labels)


def loss_of(name: str) -> SupervisedContrastive:
    settings = golden(name)["settings"]
    anchors = {"all": "all", "one": "first"}[settings["contrast_mode"]]
    return SupervisedContrastive(settings["temperature"], settings["base_temperature"], anchors)


@pytest.mark.parametrize("name", only(["supcon/b5_v2_single_member_class"], ENTRIES))
def test_loss_and_gradient_are_the_official_codes(name: str) -> None:
    z, label = views(name)
    loss = loss_of(name)(z, label)
    loss.backward()
    assert z.grad is not None
    assert_golden(loss, golden(name)["expected"]["loss"])
    assert_golden(z.grad.transpose(0, 1), golden(name)["expected"]["grad_features"])


@pytest.mark.slow
def test_without_labels_it_is_nt_xent() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(2, 5, 4, generator=generator).double(), dim=2)
    index = torch.arange(5).repeat(2)
    pos, neg = InBatch().negatives(z.flatten(0, 1), z.flip(0).flatten(0, 1), index)
    nt_xent = InfoNCE(0.3)(pos, neg)
    ours = SupervisedContrastive(0.3, base_temperature=0.3)
    for label in (torch.full((5,), -1), torch.arange(5)):
        torch.testing.assert_close(ours(z, label), nt_xent)


@pytest.mark.slow
def test_an_unlabelled_image_is_a_class_of_its_own() -> None:
    z, label = views("supcon/b8_v2_t0.1_base0.1")
    loss, unlabelled, apart = SupervisedContrastive(0.1), label.clone(), label.clone()
    unlabelled[:2], apart[:2] = -1, torch.tensor([98, 99])
    torch.testing.assert_close(loss(z, unlabelled), loss(z, apart))
    assert loss(z, unlabelled) != loss(z, label)


# --- wrong forms: each is what a change of one line would compute ---------------------------------


def form_of(name: str, form: str) -> float:
    z, label = views(name)
    settings = golden(name)["settings"]
    tau, scale = settings["temperature"], settings["temperature"] / settings["base_temperature"]
    rows, label = z.flatten(0, 1), label.repeat(len(z))
    s, itself = rows @ rows.T / tau, torch.eye(len(rows), dtype=torch.bool)
    positive = (label[:, None] == label[None]) & ~itself
    count = positive.sum(dim=1)
    denominator = s if form == "self_in_denominator" else s.masked_fill(itself, -torch.inf)
    log_p = s - denominator.logsumexp(dim=1, keepdim=True)
    inside = log_p.masked_fill(~positive, -torch.inf).logsumexp(dim=1)
    outside = log_p.masked_fill(~positive, 0)
    forms = {
        "L_in": (count.log() - inside).mean(),
        "sum_inside_the_log": -inside.mean(),
        "mean_over_positive_pairs": -outside.sum() / count.sum(),
        "self_in_denominator": -(outside.sum(dim=1) / count).mean(),
        "without_T_over_base": -(outside.sum(dim=1) / count).mean() / scale,
    }
    return (scale * forms[form]).item()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), wrong_forms("supcon"))
def test_a_wrong_form_is_another_number(name: str, form: str) -> None:
    """The form, written out, gives the number that is known of it; ours does not."""
    known = wrong_value(name, form)
    assert form_of(name, form) == pytest.approx(known, rel=1e-8)
    assert loss_of(name)(*views(name)).item() != pytest.approx(known, rel=1e-6)


@pytest.mark.slow
def test_an_anchor_without_positives_stays_in_the_mean() -> None:
    """Leaving it out, as older tables of ours did, makes the loss larger."""
    name = "supcon/b4_v1_without_positive"
    z, label = views(name)
    left_out = SupervisedContrastive(0.07)(z[:, 1:3], label[1:3])
    assert left_out.item() == 0  # two rows of one class have nothing to repel
    half = golden(name)["expected"]["loss"]  # two of four anchors have a positive
    rows = z[0]
    s = (rows @ rows.T / 0.07).fill_diagonal_(-torch.inf)
    with_positive = s.logsumexp(dim=1)[1:3] - s[1, 2]
    assert with_positive.mean().item() == pytest.approx(2 * half, rel=1e-9)


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("temperature", 0, "above 0"),
        ("base_temperature", -1, "above 0"),
        ("anchors", "one", "one of all, first"),
    ],
)
def test_values_that_make_no_sense(argument: str, value: object, says: str) -> None:
    with pytest.raises(BadValue, match=rf"^{argument}={value}: must be {says}$"):
        SupervisedContrastive(**{argument: value})  # type: ignore[arg-type]


@pytest.mark.slow
def test_half_precision_does_not_reach_the_logarithms() -> None:
    z = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    label = torch.arange(16) % 3
    with torch.autocast("cpu", torch.bfloat16):
        found = SupervisedContrastive()(z, label)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, SupervisedContrastive()(z.float(), label), rtol=1e-6, atol=0)


def test_labels_of_another_shape_are_refused() -> None:
    for label in (torch.zeros(4, 1), torch.zeros(3), torch.zeros(8)):
        with pytest.raises(UserError, match=r"^labels have shape .* for views of \(2, 4, 3\): "):
            SupervisedContrastive()(torch.randn(2, 4, 3), label.long())
