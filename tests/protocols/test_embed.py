"""Files of features against the backbone run image by image on what PIL decodes."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image
from torch import Tensor, nn

import ssl_zoo
from helpers.configs import Make
from helpers.programs import run_evaluate, run_train
from helpers.trees import folder_of, make_tree
from ssl_zoo.data import DataModule, Preprocess
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.embed import Embed
from ssl_zoo.types import UserError

BOTH = ("npz", "parquet")


class Pooled(nn.Module):
    """Means of 4 x 4 places: no product that autocast would round."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


def candidate_of(data: DataModule, folder: Path, size: int = 16, backbone: Any = None) -> Candidate:
    return Candidate(
        "pretrained",
        backbone or Pooled(),
        Preprocess(size, 0.875),
        lambda: data,
        seed=0,
        device=torch.device("cpu"),
        batch_size=5,
        folder=folder,
        figure_stem=folder / "figures" / "embed",
    )


def embed(candidate: Candidate, *formats: str, out: str | None = None) -> dict[str, Any]:
    return Embed(formats or BOTH, out).score(candidate)


def read_npz(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "features.npz") as file:  # allow_pickle is False
        return dict(file)


def decoded(path: str) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def tree(root: Path, sizes: list[tuple[int, int]], test: bool = True) -> Path:
    make_tree(root / "train" if test else root, sizes)
    return make_tree(root / "test", sizes, per_class=3).parent if test else root


def flat(root: Path, sizes: list[tuple[int, int]], count: int = 10) -> Path:
    for path in sorted(make_tree(root / "made", sizes).rglob("*.png"))[:count]:
        path.rename(root / f"{path.parent.name}{path.name}")
    return root


# --- against the backbone, image by image ---------------------------------------------------------


@pytest.mark.parametrize("sizes", [[(24, 24)], [(24, 24), (30, 20)]], ids=["equal", "mixed"])
@pytest.mark.parametrize("size", [16, 24])
def test_features_of_each_file(
    make_config: Make, tmp_path: Path, sizes: list[tuple[int, int]], size: int
) -> None:
    root = tree(tmp_path / "images", sizes)
    overrides = ["dataset.num_workers=0", "dataset.image_size=32"]
    candidate = candidate_of(
        folder_of(make_config, tmp_path, root, *overrides), tmp_path / "out", size=size
    )
    preprocess = Preprocess(size, 0.875)  # the backbone's own, whatever the data set's
    scores = embed(candidate)
    assert scores == {
        "num_images": 30,
        "num_features": 48,
        "files": [str(tmp_path / "out" / f"features.{kind}") for kind in BOTH],
    }
    assert candidate.num_encoded == 30
    arrays = read_npz(tmp_path / "out")
    assert arrays["path"].tolist() == sorted(str(path) for path in root.rglob("*.png"))
    assert arrays["features"].dtype == np.float32
    assert arrays["label"].dtype == np.int64
    for features, label, split, path in zip(
        arrays["features"], arrays["label"], arrays["split"], arrays["path"], strict=True
    ):
        expected = candidate.backbone(preprocess(decoded(path)[None]))[0]
        np.testing.assert_allclose(features, expected.numpy(), atol=1e-6)
        assert arrays["class_names"][label] == Path(path).parent.name
        assert (split == "test") == (Path(path).parts[-3] == "test")
    counts = dict(zip(*np.unique(arrays["split"], return_counts=True), strict=True))
    assert counts == {"train": 22, "val": 2, "test": 6}


def test_parquet_is_the_npz(make_config: Make, tmp_path: Path) -> None:
    root = tree(tmp_path / "images", [(24, 24)])
    embed(candidate_of(folder_of(make_config, tmp_path, root), tmp_path))
    arrays, table = read_npz(tmp_path), pq.read_table(tmp_path / "features.parquet")
    assert str(table.schema.field("features").type) == "fixed_size_list<element: float>[48]"
    assert table["features"].to_pylist() == arrays["features"].tolist()
    for name in ("label", "split", "path"):
        assert table[name].to_pylist() == arrays[name].tolist()
    names = arrays["class_names"][arrays["label"]].tolist()
    assert table["class_name"].to_pylist() == names
    assert set(table.column_names) == {"path", "split", "label", "class_name", "features"}


@pytest.mark.parametrize("sizes", [[(24, 24)], [(24, 24), (30, 20)]], ids=["equal", "mixed"])
def test_an_unlabelled_flat_tree(
    make_config: Make, tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    root = flat(tmp_path / "images", sizes)
    data = folder_of(make_config, tmp_path, root, "dataset.num_workers=0")
    candidate = candidate_of(data, tmp_path)
    assert embed(candidate)["num_images"] == 24
    arrays, table = read_npz(tmp_path), pq.read_table(tmp_path / "features.parquet")
    assert all(Path(path).is_file() for path in arrays["path"])
    assert arrays["label"].tolist() == [-1] * 24
    assert arrays["split"].tolist() == ["train"] * 24
    assert arrays["class_names"].shape == (0,)
    assert table["class_name"].to_pylist() == [None] * 24


def test_half_of_the_labels(make_config: Make, tmp_path: Path) -> None:
    data = folder_of(make_config, tmp_path, tree(tmp_path / "images", [(24, 24)]))
    data.train.labels[::2] = -1
    assert embed(candidate_of(data, tmp_path))["num_images"] == 30
    arrays, table = read_npz(tmp_path), pq.read_table(tmp_path / "features.parquet")
    known = dict(zip(data.train.paths, data.train.labels.tolist(), strict=True))
    ours = arrays["split"] == "train"
    labels = dict(zip(arrays["path"][ours].tolist(), arrays["label"][ours].tolist(), strict=True))
    assert labels == known
    empty = [name is None for name in table["class_name"].to_pylist()]
    assert empty == (arrays["label"] == -1).tolist()


def test_a_data_set_without_files_or_with_shuffled_rows(make_config: Make, tmp_path: Path) -> None:
    data: DataModule = instantiate(make_config("dataset=digits", tiny=False).data)
    candidate = replace(candidate_of(data, tmp_path, 32), figure_stem=None)
    embed(candidate)
    arrays, table = read_npz(tmp_path), pq.read_table(tmp_path / "features.parquet")
    assert sorted(arrays["index"].tolist()) == list(range(1797))  # digits are one array
    array = torch.as_tensor(data.train.images)
    expected = candidate.backbone(candidate.preprocess(array[torch.from_numpy(arrays["index"])]))
    np.testing.assert_allclose(arrays["features"], expected.numpy(), atol=1e-6)
    splits = [name for name in ("train", "val", "test") for _ in range(len(getattr(data, name)))]
    assert arrays["split"].tolist() == splits
    assert table["index"].to_pylist() == arrays["index"].tolist()
    assert "path" not in arrays


def test_the_order_of_batches_is_no_matter(make_config: Make, tmp_path: Path) -> None:
    data = folder_of(make_config, tmp_path, tree(tmp_path / "images", [(24, 24)]))
    contents = []
    for batch_size in (1, 7, 100):
        candidate = candidate_of(data, tmp_path / str(batch_size))
        embed(replace(candidate, batch_size=batch_size), "npz")
        contents.append((tmp_path / str(batch_size) / "features.npz").read_bytes())
    assert contents[0] == contents[1] == contents[2]


# --- where it goes --------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_knobs(make_config: Make, tmp_path: Path) -> None:
    data = folder_of(make_config, tmp_path, tree(tmp_path / "images", [(24, 24)]))
    candidate = candidate_of(data, tmp_path / "beside")
    scores = embed(candidate, "npz", out=str(tmp_path / "a" / "b"))
    assert scores["files"] == [str(tmp_path / "a" / "b" / "features.npz")]
    assert os.listdir(tmp_path / "a" / "b") == ["features.npz"]
    assert not list((tmp_path / "beside").glob("features*"))
    embed(replace(candidate, name="runs/moco v2"), "parquet")
    assert [path.name for path in (tmp_path / "beside").glob("features*")] == [
        "features_runs_moco_v2.parquet"
    ]


@pytest.mark.usefixtures("pictures")
def test_the_map(make_config: Make, tmp_path: Path) -> None:
    data = folder_of(make_config, tmp_path, tree(tmp_path / "images", [(24, 24)]))
    candidate = candidate_of(data, tmp_path)
    embed(candidate, "npz")
    height, width = matplotlib.image.imread(tmp_path / "figures" / "embed_map.png").shape[:2]
    assert width > height > 400
    (tmp_path / "figures" / "embed_map.png").unlink()
    embed(replace(candidate, figure_stem=None), "npz")
    assert not list((tmp_path / "figures").iterdir())


def test_three_images_have_no_map(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(root / f"{i}.png")
    data = folder_of(make_config, tmp_path, root)
    caplog.set_level("INFO", "ssl_zoo")
    assert embed(candidate_of(data, tmp_path))["num_images"] == 3
    assert "no map: 3 images are too few" in caplog.text


def test_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_train(tmp_path / "run", "callbacks=none")
    root = flat(tmp_path / "images", [(32, 32), (40, 48)])
    data = [f"dataset.root={root}", f"dataset.cache_dir={tmp_path}", "dataset.num_workers=0"]
    result = run_evaluate(f"ckpt={run}", "protocol=embed", "dataset=folder", *data)
    assert list(result["rows"]) == ["pretrained"]
    assert result["rows"]["pretrained"]["num_images"] == 24
    assert "%" not in capsys.readouterr().out.split("embed (id ")[1]  # a table of counts
    with np.load(run / "evaluation" / "features_folder.npz") as file:  # the data set's name
        arrays = dict(file)
    backbone, preprocess = ssl_zoo.load_backbone(run)
    with torch.inference_mode():
        images = [backbone(preprocess(decoded(path)[None])) for path in arrays["path"]]
    expected = torch.cat(images).numpy()
    # bfloat16 where it is native: 8 bits of mantissa
    np.testing.assert_allclose(arrays["features"], expected, atol=0.03 * np.abs(expected).max())
    distance = np.linalg.norm(arrays["features"][:, None] - expected[None], axis=2)
    assert (distance.argmin(axis=1) == np.arange(24)).all()


# --- bad input is one line ------------------------------------------------------------------------


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet")
    with pytest.raises(UserError, match=r'pip install "ssl_zoo\[parquet\]"') as error:
        Embed(["npz", "parquet"], None)
    assert "\n" not in str(error.value)
    assert Embed(["npz"], None).formats == ["npz"]


@pytest.mark.parametrize("formats", [[], ["csv"], "npz", ["npz", "csv"]])
def test_unknown_formats(formats: Any) -> None:
    with pytest.raises(UserError, match=r"formats=.*npz and parquet"):
        Embed(formats, None)


def test_a_folder_that_cannot_be_written(make_config: Make, tmp_path: Path) -> None:
    data = folder_of(make_config, tmp_path, tree(tmp_path / "images", [(24, 24)]))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file.*protocol\.embed\.out"):
        embed(candidate_of(data, tmp_path), out=str(tmp_path / "file"))


def test_features_that_are_not_finite(make_config: Make, tmp_path: Path) -> None:
    class Broken(Pooled):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).log()  # NaN below 0

    data = folder_of(make_config, tmp_path, tree(tmp_path / "images", [(24, 24)]))
    with pytest.raises(UserError, match=r"of 30 images hold NaN or infinity, path .*\.png first"):
        embed(candidate_of(data, tmp_path, backbone=Broken()))
    assert not list(tmp_path.glob("features*"))


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode elsewhere")
def test_a_name_that_is_not_utf8(make_config: Make, tmp_path: Path) -> None:
    root = flat(tmp_path / "images", [(24, 24)])
    (root / "cat0.png").rename(root / os.fsdecode(b"caf\xe9.png"))
    data = folder_of(make_config, tmp_path, root)
    embed(candidate_of(data, tmp_path), "npz")
    assert all(Path(path).is_file() for path in read_npz(tmp_path)["path"])
    with pytest.raises(UserError, match="is not UTF-8"):
        embed(candidate_of(data, tmp_path))
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_an_image_that_does_not_decode(make_config: Make, tmp_path: Path, on_error: str) -> None:
    root = tree(tmp_path / "images", [(24, 24), (30, 20)])
    path = root / "train" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:500])
    overrides = [f"dataset.on_error={on_error}", "dataset.num_workers=0"]
    if on_error == "stop":
        with pytest.raises(UserError, match=r"1\.png does not decode"):
            embed(candidate_of(folder_of(make_config, tmp_path, root, *overrides), tmp_path))
    else:
        data = folder_of(make_config, tmp_path, root, *overrides)
        assert embed(candidate_of(data, tmp_path))["num_images"] == 29
        assert str(path) not in read_npz(tmp_path)["path"].tolist()
