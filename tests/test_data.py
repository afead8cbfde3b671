from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image

from ssl_zoo.data import DataModule, Preprocess
from ssl_zoo.data.datamodule import channel_statistics, stratified_split
from ssl_zoo.data.datasets import TensorImages
from ssl_zoo.data.samplers import EpochSampler, epoch_order
from ssl_zoo.types import UserError

Make = Callable[..., DictConfig]
CPU = torch.device("cpu")


def make_tree(root: Path, sizes: list[tuple[int, int]], per_class: int = 12) -> Path:
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            height, width = sizes[i % len(sizes)]
            pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def data_of(make_config: Make, *overrides: str) -> DataModule:
    data: DataModule = instantiate(make_config(*overrides).data)
    return data


FOLDER = ["dataset=folder", "augmentation=byol", "augmentation.blur_kernel=3", "batch_size=8"]


def folder_of(make_config: Make, tmp_path: Path, root: Path, *overrides: str) -> DataModule:
    paths = [f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    config = make_config(*FOLDER, *paths, *overrides, tiny=False)
    data: DataModule = instantiate(config.data)
    return data


# --- the order ----------------------------------------------------------------------------------


def test_order_is_a_permutation_and_a_function_of_seed_and_epoch() -> None:
    orders = [epoch_order(1000, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(1000))
    for i, a in enumerate(orders):
        for b in orders[:i]:
            assert (a == b).sum() < 20
    assert torch.equal(epoch_order(1000, 1, 1), orders[3])


def test_an_epoch_shows_every_image_once() -> None:
    sampler = EpochSampler(num_images=100, batch_size=20)
    assert len(sampler.pending()) == 5
    assert torch.equal(torch.cat(sampler.pending()).sort().values, torch.arange(100))


def test_ranks_take_contiguous_chunks_of_the_same_global_batches() -> None:
    one = EpochSampler(100, batch_size=24, accumulate=2).pending()
    parts = [EpochSampler(100, 24, 2, rank=r, world_size=3).pending() for r in range(3)]
    assert len(one) == 8
    for batch, *chunks in zip(one, *parts, strict=True):
        assert torch.equal(batch, torch.cat(chunks))


def test_state_goes_on_in_mid_epoch() -> None:
    sampler = EpochSampler(100, 10)
    sampler.set_epoch(3)
    expected = sampler.pending()[4:]
    sampler.position = 4
    other = EpochSampler(100, 10)
    other.load_state_dict(sampler.state_dict())
    other.set_epoch(3)  # as Lightning does at the start of the resumed epoch
    assert all(torch.equal(a, b) for a, b in zip(other.pending(), expected, strict=True))
    other.set_epoch(4)
    assert len(other.pending()) == 10


def test_batches_that_do_not_divide_name_the_nearest_that_do() -> None:
    with pytest.raises(UserError, match=r"batch_size=100 .* 8: use 96 or 104"):
        EpochSampler(1000, 100, accumulate=4, world_size=2)
    with pytest.raises(UserError, match=r"batch_size=256 is more than the 90 training images"):
        EpochSampler(90, 256)


# --- splits and statistics ----------------------------------------------------------------------


def test_split_is_stratified_fixed_and_disjoint() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 3 + [3] + [-1] * 40)
    kept, held_out = stratified_split(labels, 0.1, seed=0)
    assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(len(labels)))
    counts = [int((labels[held_out] == c).sum()) for c in (-1, 0, 1, 2, 3)]
    assert counts == [0, 10, 5, 1, 0]  # the last image of a class stays in train
    assert torch.equal(stratified_split(labels, 0.1, seed=0)[1], held_out)
    assert not torch.equal(stratified_split(labels, 0.1, seed=1)[1], held_out)
    assert len(stratified_split(labels, 0.0, seed=0)[1]) == 0


def test_the_held_out_images_do_not_depend_on_the_run_seed(make_config: Make) -> None:
    a, b = data_of(make_config, "seed=0"), data_of(make_config, "seed=7")
    assert torch.equal(a.val.batch(torch.arange(10)), b.val.batch(torch.arange(10)))
    assert (len(a.train), len(a.val), a.num_images, a.num_classes) == (270, 30, 270, 10)


def test_channel_statistics_equal_numpy() -> None:
    images = torch.randint(0, 256, (50, 3, 9, 7), dtype=torch.uint8)
    mean, std = channel_statistics(TensorImages(images, torch.zeros(50).long()))
    expected = images.numpy() / 255
    np.testing.assert_allclose(mean, expected.mean(axis=(0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(std, expected.std(axis=(0, 2, 3)), atol=1e-12)


def test_bank_is_the_labelled_train_split_or_a_fixed_part(make_config: Make) -> None:
    data = data_of(make_config)
    whole = torch.cat([batch.index for batch in data.bank_dataloader()])
    assert torch.equal(whole, torch.arange(270))
    part = torch.cat([batch.index for batch in data.bank_dataloader(50)])
    assert len(part) == len(part.unique()) == 50
    assert torch.equal(part, torch.cat([b.index for b in data.bank_dataloader(50)]))


def test_preprocess_resizes_crops_and_normalises() -> None:
    preprocess = Preprocess(32, 0.875, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1])
    images = torch.full((2, 3, 60, 90), 255, dtype=torch.uint8)
    out = preprocess(images)
    assert out.shape == (2, 3, 32, 32)
    torch.testing.assert_close(out[0, :, 5, 5], torch.tensor([2.5, 3.0, 7.0]))
    exact = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(preprocess.geometry(exact), exact)
    again = Preprocess(**preprocess.options())
    assert torch.equal(again(exact), preprocess(exact))


# --- views, the same wherever they are made -----------------------------------------------------


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
