"""One number, whichever way it is asked for: images come to a backbone in one way, its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ssl_zoo
from helpers.programs import run_evaluate, run_protocols
from helpers.protocols import small_candidate
from helpers.tiers import only
from ssl_zoo import load_backbone
from ssl_zoo.backbones import ConvNet
from ssl_zoo.checkpoints.export import export, main
from ssl_zoo.data import Preprocess
from ssl_zoo.data.datasets.drawn_shapes import draw_shapes
from ssl_zoo.evaluation import knn_top1
from ssl_zoo.evaluation.features import Features
from ssl_zoo.protocols.candidate import Encoded
from ssl_zoo.train import train
from ssl_zoo.types import UserError

SIZES = [(48, 64), (40, 40), (70, 44)]  # mixed: the data's own rule crops 0.875, the run's does not
KNN = ["protocol.knn.ks=[5]", "protocol.knn.k=5", "baselines=false"]
GIVEN = {
    "image_size": 24,
    "crop_fraction": 0.5,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.9, 0.8, 0.7],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes, none of them square of one size."""
    root = tmp_path_factory.mktemp("images")
    pixels, labels = draw_shapes(torch.arange(200), seed=0)
    for i in (labels < 2).nonzero().flatten().tolist():
        folder = root / ("test" if i % 3 == 0 else "train") / f"class{labels[i]}"
        folder.mkdir(parents=True, exist_ok=True)
        height, width = SIZES[i % 4 % 3]
        picture = Image.fromarray(pixels[i].permute(1, 2, 0).numpy())
        picture.resize((width, height)).save(folder / f"{i}.png")
    return root


@pytest.fixture
def data(images: Path, tmp_path: Path) -> list[str]:
    paths = [f"dataset.root={images}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    return ["dataset=folder", *paths, "dataset.num_workers=0", f"out={tmp_path / 'out'}"]


@pytest.fixture
def encoded() -> Iterator[list[Tensor]]:
    """What each call of a convolutional net returned."""
    outputs: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, ConvNet):
            outputs.append(output.clone())

    handle = nn.modules.module.register_module_forward_hook(note)
    yield outputs
    handle.remove()


def features_file(folder: Path) -> dict[str, np.ndarray]:
    (file,) = folder.glob("features*.npz")
    with np.load(file) as arrays:
        return dict(arrays)


def by_hand(source: Path, paths: list[str], **given: Any) -> Tensor:
    """A file's features as a user of load_backbone makes them, one image at a time."""
    backbone, own = load_backbone(source)
    preprocess = Preprocess(**own.options() | given)
    with torch.inference_mode():
        return torch.cat([backbone(preprocess(path)) for path in paths])


def knn_of(arrays: dict[str, np.ndarray], features: Tensor) -> float:
    """kNN's top-1 on test of features in the order of these arrays."""
    label, split = torch.from_numpy(arrays["label"]), arrays["split"]
    test = torch.from_numpy(split == "test")
    parts = Features(features[test], label[test]), Features(features[~test], label[~test])
    return knn_top1(*parts[0], *parts[1], 2, [5])[5]


def sorted_rows(features: Tensor) -> Tensor:
    """Rows in an order that does not depend on the loaders'."""
    return features[features[:, 0].argsort()]


# --- one file, one set of images ------------------------------------------------------------------


@pytest.mark.parametrize("door", only(["run"], ["run", "safetensors", "onnx"]))
def test_every_door_gives_the_same_features_and_the_same_score(
    run: Path, data: list[str], tmp_path: Path, encoded: list[Tensor], door: str
) -> None:
    source = run
    if door != "run":
        source = tmp_path / f"mine.{door}"
        export(run, door, source)
        encoded.clear()
    scored = run_evaluate(f"ckpt={source}", *data, *KNN)["rows"]["pretrained"]
    by_knn = torch.cat(encoded) if encoded else None
    run_evaluate(f"ckpt={source}", *data, "protocol=embed")
    arrays = features_file(tmp_path / "out")
    paths = arrays["path"].tolist()
    by_file = torch.from_numpy(arrays["features"])
    expected = by_hand(source, paths)
    torch.testing.assert_close(by_file, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ssl_zoo.embed(paths, source), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(by_hand(run, paths), expected, atol=1e-4, rtol=1e-3)
    if by_knn is not None:
        rows = sorted_rows(by_knn), sorted_rows(expected)
        torch.testing.assert_close(*rows, atol=1e-5, rtol=1e-4)
    assert scored["test_top1"] == pytest.approx(knn_of(arrays, expected))


def test_what_a_backbone_is_given_is_its_candidates(tmp_path: Path) -> None:
    """Also in protocols that run the backbone: its loaders, in its size."""
    candidate = small_candidate(folder=tmp_path)
    other = Preprocess(8, 0.5)
    smaller = replace(candidate, preprocess=other, encoded=Encoded())
    for loader in smaller.loaders():
        assert next(iter(loader)).images.shape[-1] == 8
    assert next(iter(smaller.data.test_dataloader())).images.shape[-1] == 8
    assert smaller.data.preprocess.options() == other.options()
    assert next(iter(candidate.loaders()[0])).images.shape[-1] == 16
    assert smaller.features.train.representation.shape[1] == 16


# --- what is given replaces it, acts, and changes the id ------------------------------------------


@pytest.mark.parametrize("knob", only(["crop_fraction"], list(GIVEN)))
def test_each_knob_acts_everywhere_and_changes_the_id(
    run: Path, data: list[str], tmp_path: Path, knob: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ssl_zoo")
    base = [f"ckpt={run}", *data, *KNN, "protocol=[knn,embed]"]
    plain = run_protocols(*base)
    assert "; the backbone's own" in caplog.text
    text = str(GIVEN[knob]).replace(" ", "")
    caplog.clear()
    given = run_protocols(*base, f"dataset.{knob}={text}", f"out={tmp_path / '2'}")
    for protocol in ("knn", "embed"):
        assert given[protocol]["protocol_id"] != plain[protocol]["protocol_id"]
        assert given[protocol]["images"]["given"] == [knob]
    assert f"; the backbone's own but for dataset.{knob}" in caplog.text
    arrays = features_file(tmp_path / "2")
    expected = by_hand(run, arrays["path"].tolist(), **{knob: GIVEN[knob]})
    np.testing.assert_allclose(arrays["features"], expected, atol=1e-5, rtol=1e-4)
    assert given["knn"]["rows"]["pretrained"]["test_top1"] == pytest.approx(
        knn_of(arrays, expected)
    )
    # what it is already changes nothing
    own = str(load_backbone(run)[1].options()[knob]).replace(" ", "")
    same = run_protocols(*base, f"dataset.{knob}={own}")
    assert same["knn"] == plain["knn"] | {"dataset": same["knn"]["dataset"]}


@pytest.mark.slow
def test_the_runs_own_data_and_an_earlier_version_take_them_too(run: Path, tmp_path: Path) -> None:
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    saved = content["ssl_zoo"]["config"]
    del saved["dataset"]["crop_fraction"], saved["data"]["crop_fraction"]
    torch.save(content, last)
    base = [f"ckpt={run}", *KNN, f"out={tmp_path / 'out'}"]
    ids = [run_evaluate(*base, *more)["protocol_id"] for more in ([], ["dataset.mean=[0,0,0]"])]
    zoomed = run_evaluate(*base, "dataset.crop_fraction=0.5", "dataset.image_size=16")
    assert len({*ids, zoomed["protocol_id"]}) == 3
    assert zoomed["dataset"]["crop_fraction"] == 0.5
    assert zoomed["images"]["image_size"] == 16


@pytest.mark.slow
def test_random_weights_and_raw_pixels_are_prepared_as_what_they_are_compared_with(
    run: Path, tmp_path: Path
) -> None:
    base = [f"ckpt={run}", *KNN[:2], f"out={tmp_path}"]
    plain, given = (
        run_evaluate(*base, *more)["rows"] for more in ([], ["dataset.crop_fraction=0.4"])
    )
    for row in ("random init", "raw pixels"):
        assert plain[row]["protocol_id"] == plain["pretrained"]["protocol_id"]
        assert given[row]["protocol_id"] == given["pretrained"]["protocol_id"]
    alone = ["ckpt=random", "dataset.splits.num_train=100", "dataset.splits.num_test=20"]
    alone += ["backbone.widths=[8]", "backbone.strides=[2]", *KNN[:2], f"out={tmp_path}"]
    ids = [run_evaluate(*alone, *more)["protocol_id"] for more in ([], ["dataset.std=[1,1,1]"])]
    assert ids[0] != ids[1]


def test_ids_of_what_did_not_change_are_those_of_before(run: Path, tmp_path: Path) -> None:
    result = run_evaluate(f"ckpt={run}", f"out={tmp_path}", "baselines=false")
    assert result["protocol_id"] == "339b525b"


@pytest.mark.slow
def test_the_white_level_is_the_backbones_own(run: Path, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 1024, (24, 32, 32), dtype=np.uint16)
    for i, picture in enumerate(levels):
        folder = tmp_path / "images" / ("test" if i % 3 == 0 else "train") / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{i}.png")
    source = tmp_path / "mine.safetensors"
    main([str(run), "--format", "safetensors", str(source), "dataset.white=1023"])
    base = [f"ckpt={source}", "protocol=embed", "dataset=folder", "dataset.num_workers=0"]
    base += [f"dataset.root={tmp_path / 'images'}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    ids = []
    for white in (None, 65535):
        out = tmp_path / f"out{white}"
        more = [] if white is None else [f"dataset.white={white}"]
        ids.append(run_evaluate(*base, *more, f"out={out}")["protocol_id"])
        arrays = features_file(out)
        given = {} if white is None else {"white": white}
        expected = by_hand(source, arrays["path"].tolist(), **given)
        np.testing.assert_allclose(arrays["features"], expected, atol=1e-5, rtol=1e-4)
    assert ids[0] != ids[1]


@pytest.mark.slow
def test_checkpoints_that_take_other_sizes_keep_their_own(
    run: Path, data: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ssl_zoo")
    small = tmp_path / "small.safetensors"
    main([str(run), "--format", "safetensors", str(small), "dataset.image_size=20"])
    alone = [run_evaluate(f"ckpt={source}", *data, *KNN) for source in (run, small)]
    both = run_evaluate(f"ckpt=[{run},{small}]", *data, *KNN)["rows"]
    assert list(both) == [run.name, small.name]  # nothing concatenated
    assert [both[run.name], both[small.name]] == [one["rows"]["pretrained"] for one in alone]
    assert alone[0]["protocol_id"] != alone[1]["protocol_id"]
    assert "no row of concatenated: the checkpoints take images of different sizes" in caplog.text


# --- an export ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_export_takes_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.onnx"
    words = [f"dataset.{k}={str(v).replace(' ', '')}" for k, v in GIVEN.items()]
    main([str(run), "--format", "onnx", str(out), *words])
    assert "crop the centre 24 x 24" in capsys.readouterr().out
    options = load_backbone(out)[1].options()
    assert options["image_size"] == 24
    assert options["crop_fraction"] == 0.5
    assert options["mean"] == pytest.approx(GIVEN["mean"])
    with pytest.raises(SystemExit):
        main(
            [str(run), "--format", "safetensors", str(tmp_path / "m.safetensors"), "dataset.std=0"]
        )
    error = "error: dataset.std=0: must be three numbers, for red, green and blue\n"
    assert capsys.readouterr().err == error


# --- precision ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_precision_of_encoding_belongs_to_the_id(run: Path, tmp_path: Path) -> None:
    base = [f"ckpt={run}", *KNN, f"out={tmp_path}"]
    full, half = (run_evaluate(*base, *more) for more in ([], ["precision=bf16-mixed"]))
    assert (full["encoded_in"], half["encoded_in"]) == ("float32", "bfloat16")
    assert full["protocol_id"] != half["protocol_id"]
    with pytest.raises(UserError, match=r"^precision=16: give 32-true, bf16-mixed, auto or null$"):
        run_evaluate(*base, "precision=16")


# --- bad input is one line ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mean=0.5", r"^dataset\.mean=0\.5: must be three numbers"),
        ("mean=[0.5]", r"^dataset\.mean=\[0\.5\]: must be three numbers"),
        ("std=[0,1,1]", r"^dataset\.std=\[0, 1, 1\]: must be above 0$"),
        ("crop_fraction=1.5", r"^dataset\.crop_fraction=1\.5: must be in \[0\.1, 1\]$"),
        ("crop_fraction=0", r"^dataset\.crop_fraction=0: must be in \[0\.1, 1\]$"),
        ("image_size=large", r"^dataset\.image_size=large: must be a whole number"),
        ("image_size=0", r"^dataset\.image_size=0: must be a whole number of at least 1$"),
    ],
)
def test_what_makes_no_sense(run: Path, given: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        run_evaluate(f"ckpt={run}", f"dataset.{given}")


@pytest.mark.slow
def test_a_program_of_a_fixed_size(run: Path, tmp_path: Path, data: list[str]) -> None:
    export(run, "onnx", tmp_path / "mine.onnx")
    said = r"^dataset\.image_size=48: the backbone takes images of 32 x 32 pixels \(.*\)$"
    with pytest.raises(UserError, match=said) as error:
        run_evaluate(f"ckpt={tmp_path / 'mine.onnx'}", *data, "dataset.image_size=48")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_onnxruntime_computes_in_float32_whatever_the_precision(
    run: Path, tmp_path: Path, data: list[str]
) -> None:
    export(run, "onnx", tmp_path / "mine.onnx")
    base = [f"ckpt={tmp_path / 'mine.onnx'}", *data, *KNN]
    plain, half = (run_evaluate(*base, *more) for more in ([], ["precision=bf16-mixed"]))
    assert plain["encoded_in"] == half["encoded_in"] == "float32"
    assert plain["protocol_id"] == half["protocol_id"]


@pytest.mark.slow
def test_the_knob_of_the_crop_is_read_in_training(make_config: Any, tmp_path: Path) -> None:
    for value in ("2", "0.001"):
        with pytest.raises(UserError, match=rf"^dataset\.crop_fraction={value}: must be in \[0\.1"):
            train(make_config(f"dataset.crop_fraction={value}"))
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    train(make_config("dataset.crop_fraction=0.8", "callbacks=none", "trainer.max_steps=1"))
    assert load_backbone(tmp_path / "run")[1].crop_fraction == 0.8
