"""A part that does not keep its contract is refused in one line that names what does not hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from helpers.configs import Make
from ssl_zoo.callbacks import CleanFeatures
from ssl_zoo.config import instantiate
from ssl_zoo.data import DataModule
from ssl_zoo.data.contract import check_splits, check_views
from ssl_zoo.data.images import Splits, TensorImages
from ssl_zoo.methods.checks import check_output
from ssl_zoo.modules.contract import check_backbone, check_head
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.build import build_callbacks, build_method
from ssl_zoo.types import StepOutput, UserError


class Net(nn.Module):
    """A backbone or head whose output is whatever `make` makes of its input's mean."""

    def __init__(self, make: Any, width: Any = 4) -> None:
        super().__init__()
        self.num_features = self.out_dim = width
        self.linear, self.dropout, self.make = nn.Linear(3, 4), nn.Dropout(), make
        self.linear.eval()

    def forward(self, x: Tensor) -> Any:
        x = x.mean(dim=(2, 3)) if x.ndim == 4 else x[:, :3]
        return self.make(self.dropout(self.linear(x)))


BROKEN = [
    (lambda z: z, None, r"has num_features=None: set it to the width"),
    (lambda z: z, True, r"has num_features=True"),
    (lambda z: z, 5, r"makes shape \(2, 4\) of a batch of 2: .* \(2, 5\)$"),
    (lambda z: z[:, :, None], 4, r"makes shape \(2, 4, 1\)"),
    (lambda z: [z], 4, r"makes list of a batch"),
    (lambda z: z.round().long(), 4, r"returns torch\.int64: it must return floating"),
    (lambda z: z.detach(), 4, r"returns a tensor without a gradient: remove detach"),
    (lambda z: z.double(), 4, r"makes torch\.float64 of torch\.float32: it must keep the dtype"),
    (lambda z: z @ z, 4, r"does not take images of 8 pixels: mat1 and mat2"),
]


@pytest.mark.parametrize(("make", "width", "line"), BROKEN)
def test_backbones(make: Any, width: Any, line: str) -> None:
    with pytest.raises(UserError, match=f"^the backbone Net {line}"):
        check_backbone(Net(make, width), 8)


def test_a_good_one_stays_as_it_was() -> None:
    net = Net(lambda z: z)
    state = torch.random.get_rng_state()
    check_backbone(net, 8)
    check_head(net, 3, "projector")
    assert torch.random.get_rng_state().equal(state)
    assert [net.training, net.dropout.training, net.linear.training] == [True, True, False]
    assert all(p.grad is None for p in net.parameters())
    frozen = Net(lambda z: z.detach())
    check_backbone(frozen.requires_grad_(False), 8)  # frozen on purpose


def test_heads() -> None:
    with pytest.raises(UserError, match=r"^the projector Net has out_dim=0: set it"):
        check_head(Net(lambda z: z, 0), 3, "projector")


PIXELS = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        (PIXELS, torch.tensor([0, 1, 2]), r"^labels of train go from 0 to 2, but there are 2"),
        (PIXELS, torch.tensor([0, -2, 1]), r"go from -2 to 1"),
        (PIXELS, torch.tensor([0.0, 1, 1]), r"^labels of train are torch\.float32 .* int64"),
        (PIXELS, torch.tensor([[0], [1], [1]]), r"shape \(3, 1\): give an int64"),
        (PIXELS.float(), torch.tensor([0, 1, 1]), r"^images of train are torch\.float32 .* uint8"),
        (PIXELS[:, :1], torch.tensor([0, 1, 1]), r"shape \(1, 8, 8\): give uint8"),
    ],
)
def test_data_sets(images: Tensor, labels: Tensor, line: str) -> None:
    splits = Splits(TensorImages(images, labels), None, ["a", "b"])
    with pytest.raises(UserError, match=line):
        check_splits(splits)


def test_what_is_not_a_data_set() -> None:
    with pytest.raises(UserError, match=r"^the data set is a list: return .*Splits\("):
        check_splits([])
    with pytest.raises(UserError, match=r"^train of the data set is a Tensor: give an"):
        check_splits(Splits(PIXELS, None, []))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "views",
    [
        torch.zeros(2, 4, 3, 8, 8),
        [torch.zeros(4, 3, 8, 8)],
        [torch.zeros(4, 3, 8, 8), torch.zeros(3, 3, 8, 8)],
        [torch.zeros(4, 3, 8, 8, dtype=torch.uint8)] * 2,
        [torch.zeros(4, 8, 8, 3)] * 2,
        [torch.zeros(4, 3, 8, 8).double()] * 2,
        [torch.zeros(4, 3, 8, 6)] * 2,
    ],
)
def test_augmentations(views: Any) -> None:
    check_views([torch.zeros(4, 3, 8, 8), torch.zeros(4, 3, 4, 4)], 4, 2)
    with pytest.raises(UserError, match=r"a list of num_views=2 float32 tensors of shape \(4, 3"):
        check_views(views, 4, 2)


W = torch.ones(4, requires_grad=True)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (W.sum(), r"^objective returns a Tensor: return a StepOutput$"),
        (
            StepOutput(W, W[:, None], W, {}),
            r"^the loss is a tensor of shape \(4,\): return a scalar",
        ),
        (StepOutput(W.sum().detach(), W[:, None], W, {}), r"^the loss has no gradient"),
        (StepOutput(1.0, W[:, None], W, {}), r"^the loss is a float"),  # type: ignore[arg-type]
        (StepOutput(W.sum(), W, W, {}), r"^the representation has shape \(4,\), not \(4, num"),
    ],
)
def test_steps(output: Any, line: str) -> None:
    check_output(StepOutput(W.sum(), W[:, None], W, {}), 4)
    with pytest.raises(UserError, match=line):
        check_output(output, 4)


def test_methods_and_callbacks(make_config: Make) -> None:
    cfg = make_config("method.module={_target_: torch.nn.Identity}")
    data: DataModule = instantiate(cfg.data)
    with pytest.raises(UserError, match=r"^method\.module is a Identity, which is not an ssl_zoo"):
        build_method(cfg, data)
    cfg = make_config("+callbacks.mine={_target_: torch.nn.Flatten}")
    with pytest.raises(UserError, match=r"^callbacks\.mine is a .*, which is not a Lightning"):
        build_callbacks(cfg, CleanFeatures(), RunFolder("nowhere"))


@pytest.mark.parametrize(
    ("place", "target", "line"),
    [
        ("backbone", "torch.nn.Flatten", r"^the backbone Flatten has num_features=None: set it"),
        ("backbone", "torch.Size", r"^the backbone Size is not a torch\.nn\.Module$"),
        ("method.projector", "torch.nn.Identity", r"^the projector Identity has out_dim=None: "),
    ],
)
def test_widths_are_checked_before_a_method_is_built(
    make_config: Make, place: str, target: str, line: str
) -> None:
    cfg = make_config()
    OmegaConf.set_struct(cfg, False)
    node = {"_target_": target} | ({"_partial_": True} if "." in place else {})
    OmegaConf.update(cfg, place, node, merge=False)
    data: DataModule = instantiate(cfg.data)
    with pytest.raises(UserError, match=line):
        build_method(cfg, data)
