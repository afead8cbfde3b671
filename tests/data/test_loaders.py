"""Views are the same wherever and in whatever batches they are made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.configs import Make
from helpers.trees import data_of, folder_of, make_tree
from ssl_zoo.data import DataModule
from ssl_zoo.data.images import TensorImages
from ssl_zoo.types import UserError

CPU = torch.device("cpu")


def views_of(data: DataModule, epoch: int = 2) -> dict[int, torch.Tensor]:
    """Each image's views by its index, over an epoch."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    found = {}
    for raw in loader:
        batch = data.transfer_batch_to_device(raw, CPU, 0)
        for row, index in enumerate(batch.index.tolist()):
            found[index] = torch.stack([view[row] for view in batch.views])
    return found


def assert_same_views(a: dict[int, torch.Tensor], b: dict[int, torch.Tensor]) -> None:
    shared = a.keys() & b.keys()
    assert len(shared) > 15
    for index in shared:
        torch.testing.assert_close(a[index], b[index], atol=1e-6, rtol=0)


def test_views_do_not_depend_on_the_batch_size(make_config: Make) -> None:
    whole = views_of(data_of(make_config, "batch_size=64"))
    assert_same_views(whole, views_of(data_of(make_config, "batch_size=8")))
    other = views_of(data_of(make_config, "batch_size=8"), epoch=3)
    assert all(not torch.equal(whole[i], other[i]) for i in whole.keys() & other.keys())


def test_views_do_not_depend_on_workers(make_config: Make, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "mixed", [(40, 50), (64, 33)])
    size = "dataset.image_size=24"
    none = views_of(folder_of(make_config, tmp_path, root, size, "dataset.num_workers=0"))
    two = views_of(folder_of(make_config, tmp_path, root, size, "dataset.num_workers=2"))
    assert_same_views(none, two)
    assert next(iter(none.values())).shape == (2, 3, 24, 24)


def test_tensor_and_worker_path_draw_the_same_crops(make_config: Make, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "equal", [(40, 40)])
    overrides = ["dataset.image_size=24", "dataset.mean=[0.5,0.5,0.5]", "dataset.std=[1,1,1]"]
    tensors = folder_of(make_config, tmp_path, root, *overrides)
    assert isinstance(tensors.train, TensorImages)
    files = folder_of(make_config, tmp_path, root, *overrides, "dataset.cache_limit_gb=0")
    assert not isinstance(files.train, TensorImages)
    a, b = views_of(tensors), views_of(files)
    for index in a.keys() & b.keys():
        # The worker rounds its crop to uint8; jitter and solarisation widen that a little.
        assert (a[index] - b[index]).abs().median() < 2 / 255


@pytest.mark.parametrize("sizes", [[(40, 40)], [(40, 50), (64, 33)]])
def test_multi_crop_is_one_override(
    make_config: Make, tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    root = make_tree(tmp_path / "tree", sizes)
    views = "augmentation.views=[{count:2},{count:6,size:16,crop_scale:[0.05,0.14],blur:0}]"
    data = folder_of(make_config, tmp_path, root, "dataset.image_size=24", views)
    assert data.num_views == 8
    raw = next(iter(data.train_dataloader()))
    batch = data.transfer_batch_to_device(raw, CPU, 0)
    shapes = [tuple(view.shape) for view in batch.views]
    assert shapes == [(8, 3, 24, 24)] * 2 + [(8, 3, 16, 16)] * 6


def test_mixed_sizes_without_labels(make_config: Make, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "mixed", [(40, 50), (64, 33)])
    data = folder_of(make_config, tmp_path, root, "dataset.labelled=false")
    assert data.num_classes == 0
    assert len(data.val) == 0
    assert data.num_images == 24
    assert data.preprocess.image_size == 224
    batch = next(iter(data.train_dataloader()))
    assert batch.label.tolist() == [-1] * 8


def test_a_file_that_stops_decoding_stops_the_run_at_its_batch(
    make_config: Make, tmp_path: Path
) -> None:
    root = make_tree(tmp_path / "mixed", [(40, 50), (64, 33)])
    for workers in (0, 1):
        data = folder_of(make_config, tmp_path, root, f"dataset.num_workers={workers}")
        path = root / "dog" / "3.png"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=r"dog/3\.png") as error:
            views_of(data)
        assert "\n" not in str(error.value)
        path.write_bytes(whole)
