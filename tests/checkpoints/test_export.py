"""Exported files load in their own libraries and give the same features."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from omegaconf import DictConfig
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from helpers.files import flip
from helpers.networks import randomised
from ssl_zoo import load_backbone
from ssl_zoo.checkpoints import build_backbone, load_pretrained
from ssl_zoo.checkpoints import export as module
from ssl_zoo.checkpoints.export import export, main
from ssl_zoo.train import train
from ssl_zoo.types import UserError

IMAGES = torch.randint(
    0, 256, (3, 3, 80, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


@pytest.fixture(scope="module")
def vit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT of 64 pixels as timm saves it."""
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64)
    path = tmp_path_factory.mktemp("vit") / "vit.pth"
    torch.save(randomised(network).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resnet") / "resnet.pth"
    torch.save(randomised(torchvision.models.resnet18()).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def thin_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {"_target_": "ssl_zoo.backbones.torchvision_backbone", "name": "resnet18"}
    network = build_backbone({**config, "stem": "cifar", "width": 0.25})
    path = tmp_path_factory.mktemp("thin") / "thin.pth"
    torch.save(randomised(network).state_dict(), path)
    return path


def features(backbone: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.inference_mode():
        return backbone(images)


def same(source: Path, out: Path, tolerance: float = 1e-6) -> Tensor:
    """The file loads here with the preprocessing and the features of its source."""
    backbone, preprocess = load_backbone(source)
    again, prepare = load_backbone(out)
    images = preprocess(IMAGES)
    assert torch.equal(prepare(IMAGES), images)
    assert again.num_features == backbone.num_features
    for count in (1, 3):
        found, expected = features(again, images[:count]), features(backbone, images[:count])
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    return images


def test_torchvision(resnet_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pth"
    assert export(resnet_file, "torchvision", out) == 0
    images = same(resnet_file, out)
    model = torchvision.models.get_model("resnet18")
    missing, unexpected = model.load_state_dict(torch.load(out), strict=False)
    assert (sorted(missing), unexpected) == (["fc.bias", "fc.weight"], [])
    model.fc = nn.Identity()
    backbone, _ = load_backbone(resnet_file)
    assert torch.equal(features(model.eval(), images), features(backbone, images))
    about = json.loads((tmp_path / "out.pth.json").read_text())
    assert about["name"] == "resnet18"
    assert about["preprocess"]["image_size"] == 224


def test_timm(vit_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pth"
    export(vit_file, "timm", out)
    images = same(vit_file, out)
    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=64, checkpoint_path=str(out)
    )
    backbone, _ = load_backbone(vit_file)
    torch.testing.assert_close(features(model.eval(), images), features(backbone, images))


@pytest.mark.slow
def test_torchvisions_resnet_is_timms_too(resnet_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pth"
    export(resnet_file, "timm", out)
    model = timm.create_model("resnet18", num_classes=0, checkpoint_path=str(out))
    backbone, _ = load_backbone(resnet_file)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(features(model.eval(), images), features(backbone, images))


def test_safetensors(thin_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert export(thin_file, "safetensors", out) == 0
    same(thin_file, out)
    loaded = load_pretrained(thin_file)
    weights = load_file(out)
    assert weights.keys() == loaded.backbone.state_dict().keys()
    network = build_backbone(load_pretrained(out).config or {})
    network.load_state_dict(weights)
    images = loaded.preprocess(IMAGES)
    assert torch.equal(features(network.eval(), images), features(loaded.backbone, images))


@pytest.mark.slow
def test_onnx(thin_file: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    source, out = thin_file, tmp_path / "out.onnx"
    assert export(source, "onnx", out) < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]
    images = same(source, out, tolerance=1e-4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(out, options)
    (found,) = session.run(None, {"images": images.numpy()})
    backbone, _ = load_backbone(source)
    expected = features(backbone, images)
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)
    assert load_pretrained(out).config is None
    out.write_bytes(out.read_bytes()[:20_000])
    with pytest.raises(UserError, match="is not a readable checkpoint: it is damaged") as error:
        load_backbone(out)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_torchscript(vit_file: Path, tmp_path: Path) -> None:
    source, out = vit_file, tmp_path / "out.pt"
    export(source, "torchscript", out)
    images = same(source, out, tolerance=1e-5)
    program = torch.jit.load(out)
    backbone, _ = load_backbone(source)
    torch.testing.assert_close(features(program, images), features(backbone, images))


@pytest.mark.slow
def test_a_run_of_ours(make_config: Callable[..., DictConfig], tmp_path: Path) -> None:
    train(make_config("logger=csv"))
    run, out = tmp_path / "run", tmp_path / "out.safetensors"
    export(run, "safetensors", out)
    same(run, out)
    backbone, preprocess = load_backbone(run)
    whole = load_pretrained(run, "embedding")
    assert whole.backbone.num_features == 128
    images = preprocess(IMAGES)
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    z = features(backbone, images) @ state["encoder.projector.0.weight"].T
    norm = [state[f"encoder.projector.1.{n}"] for n in ("running_mean", "running_var")]
    affine = [state[f"encoder.projector.1.{n}"] for n in ("weight", "bias")]
    hidden = ((z - norm[0]) / (norm[1] + 1e-5).sqrt() * affine[0] + affine[1]).relu()
    last = "encoder.projector.3"
    expected = hidden @ state[f"{last}.weight"].T + state[f"{last}.bias"]
    torch.testing.assert_close(features(whole.backbone, images), expected, atol=1e-5, rtol=1e-4)
    untrained = build_backbone(whole.config or {})
    assert untrained(images).shape == expected.shape


@pytest.mark.parametrize("format", ["torchvision", "timm"])
def test_a_network_that_the_library_has_not(format: str, thin_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"resnet18 cifar 0.25 is not a network of {format}: use"):
        export(thin_file, format, tmp_path / "out.pth")
    assert not list(tmp_path.iterdir())


def corrupted(by: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write another weight than the backbone's."""
    write = module._write

    def corrupt(loaded: Any, about: Any, out: Path) -> None:
        write(loaded, about, out)
        weights = torch.load(out)
        weights["layer4.1.bn2.bias"] += by
        torch.save(weights, out)

    monkeypatch.setattr(module, "_write", corrupt)


@pytest.mark.parametrize("force", [False, True])
def test_a_failed_export_leaves_all_as_it_was(
    force: bool, resnet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"out.pth": "mine", "out.pth.json": "mine too"} if force else {}
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    corrupted(1, monkeypatch)
    with pytest.raises(UserError, match=r"would give different features, by \S+ \(relative\): not"):
        export(resnet_file, "torchvision", tmp_path / "out.pth", force)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_the_difference_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large features differ by more than small ones: float32 has so many digits."""
    network = randomised(torchvision.models.resnet18())
    for name in ("layer4.1.bn2.weight", "layer4.1.bn2.bias"):
        network.state_dict()[name].mul_(1000)
    torch.save(network.state_dict(), tmp_path / "in.pth")
    corrupted(0.01, monkeypatch)
    assert 1e-7 < export(tmp_path / "in.pth", "torchvision", tmp_path / "out.pth") < 1e-4


def test_an_export_has_the_usual_mode(thin_file: Path, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    export(thin_file, "safetensors", tmp_path / "out.safetensors")
    export(thin_file, "torchscript", tmp_path / "out.pt")
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 3
    assert len(set(modes.values())) == 1, modes


def test_the_source_is_not_overwritten(resnet_file: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.pth"
    shutil.copy(resnet_file, source)
    (tmp_path / "link.pth").symlink_to(source)
    run = tmp_path / "run" / "checkpoints"
    run.mkdir(parents=True)
    for name in ("last.ckpt", "best.ckpt"):
        shutil.copy(resnet_file, run / name)
    content = source.read_bytes()
    for origin, out in (
        (source, source),
        (source, tmp_path / "link.pth"),
        (tmp_path / "run", run / "last.ckpt"),
        (tmp_path / "run", run / "best.ckpt"),
    ):
        with pytest.raises(UserError, match=r"is a file of the source .*: give another OUT$"):
            export(origin, "torchvision", out, force=True)
        assert out.read_bytes() == content


def test_an_existing_file_is_kept(
    thin_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    out.write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main([str(thin_file), "--format", "safetensors", str(out)])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {out} exists: add --force to overwrite it\n"
    assert out.read_text() == "mine"
    main([str(thin_file), "--format", "safetensors", str(out), "--force"])
    assert "largest relative difference of the features 0.0e+00\n" in capsys.readouterr().out
    same(thin_file, out)


@pytest.mark.parametrize(
    ("name", "format", "said"),
    [
        ("a.pth", "safetensors", "must end in .safetensors"),
        ("a.pth", "onnx", "must end in .onnx"),
        ("a.onnx", "torchvision", "this suffix is for --format onnx"),
        ("no/a.pth", "torchvision", "not a file in an existing folder"),
    ],
)
def test_names_that_mislead(
    name: str, format: str, said: str, resnet_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        export(resnet_file, format, tmp_path / name)


def test_a_flipped_bit_in_a_program(thin_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pt"
    export(thin_file, "torchscript", out)
    flip(out, "/data/0")
    with pytest.raises(UserError, match=r"is not a readable checkpoint: it is damaged$"):
        load_backbone(out)


def test_nan_in_an_export(thin_file: Path, tmp_path: Path) -> None:
    export(thin_file, "safetensors", tmp_path / "out.safetensors")
    content = (tmp_path / "out.safetensors").read_bytes()
    (tmp_path / "out.safetensors").write_bytes(content[:-4] + b"\xff" * 4)
    with pytest.raises(UserError, match=r"holds NaN or infinite numbers$"):
        load_backbone(tmp_path / "out.safetensors")


@pytest.mark.parametrize("ending", ["safetensors", "pt", "pth"])
def test_a_damaged_export(ending: str, thin_file: Path, resnet_file: Path, tmp_path: Path) -> None:
    formats = {"safetensors": "safetensors", "pt": "torchscript", "pth": "timm"}
    source, out = resnet_file if ending == "pth" else thin_file, tmp_path / f"out.{ending}"
    export(source, formats[ending], out)
    content = out.read_bytes()
    out.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is not a readable checkpoint: it is damaged") as error:
        load_backbone(out)
    assert "\n" not in str(error.value)


def test_files_without_our_description(thin_file: Path, tmp_path: Path) -> None:
    """Another library's safetensors are read as its other files are."""
    state = torch.load(thin_file)
    save_file(state, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    backbone, _ = load_backbone(thin_file)
    loaded = load_pretrained(tmp_path / "theirs.safetensors")
    assert "(a plain state dict): resnet18" in loaded.report
    images = loaded.preprocess(IMAGES)
    assert torch.equal(features(loaded.backbone, images), features(backbone, images))
    assert loaded.run is None
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"its layout is unknown \(it begins with a\)"):
        load_backbone(tmp_path / "a.safetensors")
    save_file(state, tmp_path / "b.safetensors", metadata={"ssl_zoo": "{}"})
    with pytest.raises(UserError, match="holds no description by ssl_zoo"):
        load_backbone(tmp_path / "b.safetensors")


def test_a_json_of_somebody_else_beside_a_state_dict(thin_file: Path) -> None:
    other = thin_file.with_name("thin.pth.json")
    for text in ('{"a": 1}', "[]", "no json", '{"format": "timm", "preprocess": {}}'):
        other.write_text(text)
        assert "a plain state dict" in load_pretrained(thin_file).report
    other.unlink()


def test_help_names_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "example:" in shown
    assert "torchvision,timm,safetensors,onnx,torchscript" in shown


# --- ViTs at another image size, hints, limits ----------------------------------------------------


@pytest.fixture(scope="module")
def resized_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder's checkpoint: a ViT of 64 pixels that sees 96."""
    config = {"_target_": "ssl_zoo.backbones.timm_backbone", "name": "vit_tiny_patch16_224"}
    config |= {"img_size": 64, "depth": 2}
    network = randomised(build_backbone(config))
    folder = tmp_path_factory.mktemp("resized") / "run" / "checkpoints"
    folder.mkdir(parents=True)
    state = {f"encoder.backbone.{name}": value for name, value in network.state_dict().items()}
    saved = {"format": 1, "config": {"backbone": config}, "preprocess": {"image_size": 96}}
    torch.save({"state_dict": state, "ssl_zoo": saved}, folder / "last.ckpt")
    return folder.parent


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("timm", "out.pth"),
        pytest.param("torchscript", "out.pt", marks=pytest.mark.slow),
        pytest.param("safetensors", "out.safetensors", marks=pytest.mark.slow),
        pytest.param("onnx", "out.onnx", marks=pytest.mark.slow),
    ],
)
def test_a_vit_at_another_image_size(
    format: str, name: str, resized_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    assert export(resized_run, format, out) < 1e-4
    images = same(resized_run, out, tolerance=1e-4)
    assert images.shape[-1] == 96
    if format == "timm":
        assert "img_size=96" in capsys.readouterr().out
        model = timm.create_model(
            "vit_tiny_patch16_224",
            num_classes=0,
            img_size=96,
            depth=2,
            checkpoint_path=str(out),
        )
        backbone, _ = load_backbone(resized_run)
        torch.testing.assert_close(features(model.eval(), images), features(backbone, images))


def test_safetensors_say_that_they_are_torchs(thin_file: Path, tmp_path: Path) -> None:
    export(thin_file, "safetensors", tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert json.loads(metadata["ssl_zoo"])["kind"] == "safetensors"


def test_more_weights_than_an_onnx_file_holds() -> None:
    with torch.device("meta"):
        large = nn.Linear(2**14, 2**15)
        small = nn.Linear(2**14, 2**14)
    said = r"^runs/RUN has 2\.0 GB of weights, and an ONNX file holds less than 2 GB: use --format"
    with pytest.raises(UserError, match=said):
        module._check_onnx_size(large, "runs/RUN")
    module._check_onnx_size(small, "runs/RUN")


def test_hints_on_the_command_line(
    vit_file: Path, thin_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = tmp_path / "both.pth"
    state = torch.load(vit_file)
    torch.save({"a": state, "b": {n: v * 0 for n, v in state.items()}}, both)
    out = tmp_path / "out.safetensors"
    args = [str(both), "--format", "safetensors", str(out)]
    with pytest.raises(SystemExit):
        main(args)
    assert "2 whole backbones, under a., b.: choose one by ckpt_prefix=a" in capsys.readouterr().err
    main([*args, "ckpt_prefix=a", "ckpt_heads=6"])
    backbone, preprocess = load_backbone(both, ckpt_prefix="a", ckpt_heads=6)
    images = preprocess(IMAGES)
    assert torch.equal(features(load_backbone(out)[0], images), features(backbone, images))
    for knob, said in (
        ("ckpt_heads=six", "ckpt_heads=six: give a whole number"),
        ("ckpt_layout=x", "ckpt_layout=x: must be one of "),
    ):
        with pytest.raises(SystemExit):
            main([*args, "--force", knob])
        assert said in capsys.readouterr().err
    again = f"^ckpt_prefix=a: {out} is an export of ssl_zoo, which needs no hint: remove it$"
    with pytest.raises(UserError, match=again):
        load_backbone(out, ckpt_prefix="a")
