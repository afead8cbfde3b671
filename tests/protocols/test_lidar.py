"""LiDAR as a protocol: which images and views it takes, and how its row is shown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from helpers.programs import composed, run_evaluate, run_protocols, train_on_folder
from helpers.protocols import protocol, small_candidate
from helpers.trees import make_tree
from ssl_zoo.config import instantiate
from ssl_zoo.evaluation import effective_rank, lidar, sample_rows
from ssl_zoo.types import BadValue, UserError

FEW = {"num_images": 40, "num_views": 3}


def test_the_row_is_of_the_views_of_training_images() -> None:
    candidate = small_candidate()
    cfg = composed("ckpt=random", "protocol=lidar")
    chain = instantiate(cfg.protocol.lidar.augmentation)
    how = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "seed": 0}
    views = chain(size=16, num_views=1, **how)
    train = candidate.data.train.subset(sample_rows(torch.arange(160), 40))
    images = next(iter(train.clean_batches([torch.arange(40)], lambda x: x, 0)))
    with torch.no_grad():
        made = [candidate.backbone(views(images, torch.arange(40), k)[0]) for k in range(3)]
    features = torch.stack(made, dim=1)
    row = protocol("lidar", **FEW).score(candidate)
    assert row["lidar"] == pytest.approx(lidar(features).item(), rel=1e-4)
    assert row["effective_rank"] == pytest.approx(effective_rank(features[:, 0]).item(), rel=1e-4)
    assert (row["num_images"], row["num_views"], row["num_features"]) == (40, 3, 16)


@pytest.mark.slow
def test_batches_change_nothing() -> None:
    once = protocol("lidar", **FEW).score(small_candidate())
    for size in (1, 10, 16, 39, 500):
        row = protocol("lidar", **FEW).score(small_candidate(batch_size=size))
        assert row["lidar"] == pytest.approx(once["lidar"], rel=1e-4), size
        assert (row["num_images"], row["num_views"]) == (40, 3)


@pytest.mark.slow
def test_the_views_depend_on_the_seed_alone() -> None:
    first = protocol("lidar", **FEW).score(small_candidate())
    again = small_candidate()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert protocol("lidar", **FEW).score(again) == first
    assert torch.get_rng_state().equal(state)
    assert protocol("lidar", **FEW).score(small_candidate(seed=1)) != first


@pytest.mark.slow
def test_views_that_differ_take_turns() -> None:
    """BYOL's two views, and any entries of `views`."""
    alike, other = [{"blur": 0.0}, {"blur": 0.0}], [{"blur": 0.0}, {"crop_scale": [1, 1]}]
    several = [protocol("lidar", **FEW, augmentation={"views": views}) for views in (alike, other)]
    rows = [p.score(small_candidate()) for p in several]
    assert rows[0]["num_views"] == 3
    assert rows[0]["lidar"] != rows[1]["lidar"]


def test_fewer_images_are_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ssl_zoo")
    data = small_candidate().data
    protocol("lidar").check(data)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        "lidar: train has 160 images, not num_images=1000: all are used; values of fewer images "
        "are lower and not comparable"
    )
    caplog.clear()
    protocol("lidar", num_images=160).check(data)
    assert not caplog.records
    data.train = data.train.subset(torch.arange(1))
    with pytest.raises(UserError, match=r"train has 1 image\(s\), and two"):
        protocol("lidar").check(data)


@pytest.mark.parametrize(
    ("knob", "value"),
    [("num_images", 1), ("num_views", 1), ("delta", 0.0), ("delta", -1e-4)],
)
def test_bad_numbers_are_refused(knob: str, value: float) -> None:
    with pytest.raises(BadValue, match=f"^{knob}="):
        protocol("lidar", **{knob: value})


@pytest.mark.parametrize("knob", [{"size": 16}, {"num_views": 5}])
def test_the_number_and_size_of_views_are_no_knobs(knob: dict[str, int]) -> None:
    with pytest.raises(BadValue, match=f"^augmentation.{next(iter(knob))}="):
        protocol("lidar", augmentation=knob)


@pytest.mark.slow
def test_a_run_and_its_embedding(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    knobs = ["protocol=lidar", "protocol.lidar.num_images=50", "protocol.lidar.num_views=2"]
    rows = run_evaluate(f"ckpt={run}", *knobs)["rows"]
    assert set(rows) == {"pretrained", "random init"}
    shown = capsys.readouterr().out
    assert f"{rows['pretrained']['lidar']:.1f}" in shown  # a number of directions, not in %
    assert "shares" not in shown
    z = run_evaluate(f"ckpt={run}", *knobs, "features=embedding", "baselines=false")
    assert z["rows"]["pretrained"]["num_features"] != rows["pretrained"]["num_features"]
    other = "augmentation@protocol.lidar.augmentation=shapes"
    again = run_evaluate(f"ckpt={run}", *knobs, other, "baselines=false")
    assert again["protocol_id"] != z["protocol_id"]
    assert again["rows"]["pretrained"]["lidar"] != rows["pretrained"]["lidar"]


@pytest.mark.slow
def test_beside_a_protocol_of_shares(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    knobs = ["protocol.lidar.num_images=50", "protocol.lidar.num_views=2"]
    results = run_protocols(f"ckpt={run}", "protocol=[knn,lidar]", *knobs, "baselines=false")
    shown = capsys.readouterr().out
    assert f"{results['lidar']['rows']['pretrained']['lidar']:.1f}" in shown
    assert f"{100 * results['knn']['rows']['pretrained']['test_top1']:.1f}" in shown
    assert "shares in %" in shown


@pytest.mark.slow
def test_files_of_mixed_sizes_without_labels(tmp_path: Path) -> None:
    """Workers crop them; nothing needs a label."""
    tree = make_tree(tmp_path / "tree", [(40, 50), (60, 30), (33, 33)], per_class=24)
    run = train_on_folder(tree, tmp_path / "run")
    knobs = ["protocol=lidar", "protocol.lidar.num_views=3", "dataset.labelled=false"]
    row = run_evaluate(f"ckpt={run}", *knobs, "baselines=false")["rows"]["pretrained"]
    assert row["lidar"] > 1
    assert row["num_images"] > 10
