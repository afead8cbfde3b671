"""Several protocols, several checkpoints, and what keeps their figures apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from PIL import Image
from torch import nn
from torch.nn.functional import normalize

from helpers.programs import run_evaluate, run_protocols, run_train
from helpers.trees import write_images
from ssl_zoo import load_backbone
from ssl_zoo.backbones import ConvNet
from ssl_zoo.config import instantiate
from ssl_zoo.data.datasets.drawn_shapes import draw_shapes
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.evaluation import knn_top1
from ssl_zoo.protocols.runner.candidates import Concatenated
from ssl_zoo.table import print_runs
from ssl_zoo.types import UserError

pytestmark = pytest.mark.xdist_group("runner")  # two runs are trained once for the file

FROZEN = ["knn", "linear", "logistic", "few_shot", "retrieval"]

QUICK = [
    *("protocol.linear.epochs=2", "protocol.logistic.strengths=[1.0,0.01]"),
    *("protocol.few_shot.fractions=[0.1]", "protocol.few_shot.per_class=[1]"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of different seeds."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    return [run_train(folder / f"seed{seed}", f"seed={seed}", "callbacks=none") for seed in (0, 1)]


@pytest.fixture
def images_seen() -> Iterator[list[int]]:
    """How many images each call of a convolutional net was given."""
    seen: list[int] = []

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, ConvNet):
            seen.append(len(args[0]))

    handle = nn.modules.module.register_module_forward_hook(note)
    yield seen
    handle.remove()


@pytest.mark.slow
def test_all_frozen_encodes_each_image_once(runs: list[Path], images_seen: list[int]) -> None:
    results = run_protocols(f"ckpt={runs[0]}", "protocol=all_frozen", *QUICK, "baselines=false")
    assert list(results) == FROZEN
    assert sum(images_seen) == 270 + 30 + 60
    for name, result in results.items():
        assert result["rows"]["pretrained"]["num_encoded"] == 360
        assert json.loads((runs[0] / "evaluation" / f"{name}.json").read_text()) == result


@pytest.mark.slow
def test_a_list_gives_what_its_members_give(runs: list[Path]) -> None:
    base = [f"ckpt={runs[0]}", "protocol.linear.epochs=2"]
    both = run_protocols(*base, "protocol=[linear,knn]", f"out={runs[0] / 'both'}")
    assert list(both) == ["linear", "knn"]
    assert both["linear"] == run_evaluate(*base, "protocol=linear")
    assert both["knn"] == run_evaluate(f"ckpt={runs[0]}", "protocol=knn")


# --- ids ------------------------------------------------------------------------------------------


def identity(run: Path, *overrides: str) -> str:
    result = run_evaluate(f"ckpt={run}", "baselines=false", f"out={run / 'ids'}", *overrides)
    return str(result["protocol_id"])


@pytest.mark.slow
def test_ids_follow_what_defines_a_score(runs: list[Path]) -> None:
    first = identity(runs[0])
    assert identity(runs[1]) == identity(runs[0], "batch_size=100") == first
    changes = ["protocol.knn.k=10", "protocol.knn.temperature=0.1", "features=embedding"]
    changes += ["dataset.splits.seed=7"]  # other images of the same labels
    changes += ["dataset.val_fraction=0.2", "dataset.split_seed=1", "dataset.image_size=16"]
    ids = [identity(runs[0], change) for change in changes]
    assert len({first, *ids}) == 1 + len(changes)


@pytest.mark.slow
def test_scores_that_are_not_comparable_are_in_columns_of_their_own(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = [tmp_path / name for name in "abc"]
    for run, folder, k in zip([*runs, runs[1]], scored, (20, 20, 10), strict=True):
        run_evaluate(f"ckpt={run}", f"out={folder / 'evaluation'}", f"protocol.knn.k={k}")
    capsys.readouterr()
    print_runs(scored[:2])
    table = capsys.readouterr().out
    assert all(f"│ {row} " in table for row in ("a", "b", "random init", "raw pixels"))
    assert "different ids" not in table
    print_runs(scored[1:])
    table = capsys.readouterr().out
    assert "knn: scores with different ids" in table
    assert table.count("knn (") == 2


@pytest.mark.slow
def test_no_file_of_other_settings_is_overwritten(runs: list[Path], tmp_path: Path) -> None:
    base = [f"ckpt={runs[0]}", f"out={tmp_path}", "baselines=false"]
    first, other, again = (run_evaluate(*base, f"protocol.knn.k={k}") for k in (20, 10, 20))
    assert json.loads((tmp_path / "knn.json").read_text()) == first == again
    assert json.loads((tmp_path / f"knn_{other['protocol_id']}.json").read_text()) == other
    run_evaluate(f"ckpt={runs[0]}", "features=embedding", "baselines=false")
    assert (runs[0] / "evaluation" / "knn_embedding.json").is_file()


# --- several checkpoints --------------------------------------------------------------------------


@pytest.mark.slow
def test_separated_and_concatenated(runs: list[Path], images_seen: list[int]) -> None:
    ckpts = f"ckpt=[{runs[0]},{runs[1]}]"
    rows = run_evaluate(ckpts, "protocol=retrieval", "baselines=false")["rows"]
    mean = "separated (mean of 2)"
    assert list(rows) == ["seed0", "seed1", mean, "concatenated"]
    assert sum(images_seen) == 2 * 360  # what is concatenated is not encoded again
    for key in ("test_map_at_r", "test_precision_at_1"):
        assert rows[mean][key] == pytest.approx((rows["seed0"][key] + rows["seed1"][key]) / 2)
    assert (runs[0].parent / "evaluation" / "retrieval_seed0_seed1.json").is_file()


@pytest.mark.slow
def test_floors_do_not_depend_on_what_stands_above_them(runs: list[Path], tmp_path: Path) -> None:
    both = f"ckpt=[{runs[0]},{runs[1]}]"
    one, two = (run_evaluate(c, f"out={tmp_path}")["rows"] for c in (f"ckpt={runs[0]}", both))
    for floor in ("random init", "raw pixels"):
        assert one[floor] == two[floor]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["protocol=[]"], r"^protocol=\[\]: give a protocol"),
        (["out=/proc/nope"], r"^cannot write to /proc/nope: .*; give out=FOLDER$"),
        (
            ["protocol.knn.ks=[0,20]"],
            r"ks=\[0, 20\]: must be a list of numbers of at",
        ),
    ],
)
def test_bad_input(runs: list[Path], overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_protocols(f"ckpt={runs[0]}", *overrides)


def test_a_checkpoint_twice_is_refused(runs: list[Path]) -> None:
    with pytest.raises(UserError, match=r"each checkpoint once$"):
        run_protocols(f"ckpt=[{runs[0]},{runs[0]}]")


@pytest.mark.slow
def test_concatenated_features(runs: list[Path]) -> None:
    rows = run_evaluate(f"ckpt=[{runs[0]},{runs[1]}]", "protocol=knn", "baselines=false")["rows"]
    saved = torch.load(runs[0] / "checkpoints" / "last.ckpt", weights_only=True)["ssl_zoo"]
    data = instantiate(OmegaConf.create(saved["config"]).data)
    parts = []
    for images in (data.train, data.val, data.test):
        pixels = images.batch(torch.arange(len(images)))
        with torch.inference_mode():
            outputs = [f(p(pixels)) for f, p in map(load_backbone, runs)]
        parts.append((torch.cat([normalize(h, dim=1) for h in outputs], dim=1), images.labels))
    bank = [torch.cat(both) for both in zip(parts[0], parts[1], strict=True)]
    expected = knn_top1(*parts[2], bank[0], bank[1], 10, [20])[20]
    assert rows["concatenated"]["test_top1"] == pytest.approx(expected, abs=1.1 / 60)


def test_a_concatenated_backbone_prepares_images_for_each_of_its_own(runs: list[Path]) -> None:
    loaded = [load_backbone(run) for run in runs]
    other = Preprocess(32, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    members = [(loaded[0][0], loaded[0][1]), (loaded[1][0], other)]
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    expected = [normalize(f(p(images)), dim=1) for f, p in members]
    joint = Concatenated([f for f, _ in members], [p for _, p in members])(loaded[0][1](images))
    torch.testing.assert_close(joint, torch.cat(expected, dim=1), atol=1e-5, rtol=1e-5)


def test_random_beside_a_checkpoint_is_refused(runs: list[Path]) -> None:
    with pytest.raises(UserError, match=r"random is a row of every table with baselines=true"):
        run_protocols(f"ckpt=[{runs[0]},random]")


# --- another data set, and strangers --------------------------------------------------------------


@pytest.mark.slow
def test_images_of_another_size_are_made_what_the_backbone_saw(
    runs: list[Path], tmp_path: Path
) -> None:
    root = write_images(tmp_path / "images", [48])
    data = ["dataset=folder", f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    base = [f"ckpt={runs[0]}", *data, "baselines=false", f"out={tmp_path}"]
    scored = run_evaluate(*base)
    same = run_evaluate(*base, "dataset.image_size=32")
    assert (scored["rows"], scored["protocol_id"]) == (same["rows"], same["protocol_id"])
    other = run_evaluate(*base, "dataset.image_size=48")
    assert other["protocol_id"] != scored["protocol_id"]


@pytest.mark.slow
def test_a_strangers_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    with pytest.raises(UserError, match=r"resnet18\.pth brings no data set: give dataset=NAME$"):
        run_evaluate(f"ckpt={file}")
    small = ["dataset.splits.num_train=60", "dataset.splits.num_test=20", "dataset.image_size=32"]
    result = run_evaluate(f"ckpt={file}", "dataset=shapes", *small, "protocol=knn")
    assert list(result["rows"]) == ["pretrained", "random init", "raw pixels"]
    assert (tmp_path / "evaluation" / "knn_resnet18_shapes.json").is_file()


@pytest.mark.slow
def test_retrieval_needs_no_test_split(runs: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "images"
    images, labels = draw_shapes(torch.arange(200), seed=0)
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        (root / f"class{label}").mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture.save(root / f"class{label}" / f"{i}.png")
    data = ["dataset=folder", f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    base = [f"ckpt={runs[0]}", *data, f"out={tmp_path}", "baselines=false"]
    rows = [
        run_evaluate(*base, "protocol=retrieval", *more)["rows"]["pretrained"]
        for more in ([], ["dataset.val_fraction=0"], ["dataset.class_split=hash"])
    ]
    # whatever is held out of train, the same images of the same classes are searched
    assert rows[0]["test_map_at_r"] == pytest.approx(rows[1]["test_map_at_r"], rel=1e-4)
    assert rows[0]["test_map_at_r"] == pytest.approx(rows[2]["test_map_at_r"], rel=1e-4)
    assert [row["test_classes_seen"] for row in rows] == [0, 0, 0]  # other names than the shapes'
    with pytest.raises(
        UserError, match=r"^protocol=knn: .*no test images: .* the protocol retrieval"
    ):
        run_evaluate(*base, "protocol=knn")
    with pytest.raises(
        UserError, match=r"^protocol=knn: .*dataset\.class_split.*use protocol=retrieval"
    ):
        run_evaluate(*base, "protocol=knn", "dataset.class_split=hash")
