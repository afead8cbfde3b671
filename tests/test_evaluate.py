"""evaluate.py and load_backbone on what a real run left behind."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import command_line
from conftest import TINY
from PIL import Image
from test_linear_augmented import planted
from torch import Tensor

import ssl_zoo
from evaluate import evaluate
from ssl_zoo.data.shapes import draw_shapes
from ssl_zoo.evaluation.features import Features
from ssl_zoo.protocols.linear import Linear
from ssl_zoo.protocols.table import print_scores
from ssl_zoo.types import UserError
from train import train

ROWS = ["pretrained", "random init", "raw pixels"]
QUICK = ["protocol=linear", "protocol.linear.epochs=2"]


def run_train(folder: Path, *overrides: str) -> Path:
    with command_line("train", *TINY, f"run_dir={folder}", *overrides) as cfg:
        train(cfg)
    return folder


def run_protocols(*overrides: str) -> dict[str, Any]:
    with command_line("evaluate", *overrides) as cfg:
        return evaluate(cfg)


def run_evaluate(*overrides: str) -> dict[str, Any]:
    """What one protocol writes."""
    (result,) = run_protocols(*overrides).values()
    return dict(result)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return run_train(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to write in."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def write_images(root: Path, sizes: list[int], labelled: bool = True, test: bool = True) -> Path:
    """PNG files of two kinds of shape, of the given sizes in turn."""
    for split, start, count in (("train", 0, 400), ("test", 10_000, 120)):
        if split == "test" and not test:
            continue
        images, labels = draw_shapes(torch.arange(start, start + count), seed=0)
        for i in (labels < 2).nonzero().flatten().tolist():
            folder = root / split / (f"class{labels[i]}" if labelled else "")
            folder.mkdir(parents=True, exist_ok=True)
            size = sizes[i % len(sizes)]
            picture = Image.fromarray(images[i].permute(1, 2, 0).numpy())
            picture.resize((size, size)).save(folder / f"{i}.png")
    return root


def folder_overrides(root: Path, cache: Path) -> list[str]:
    return [
        "dataset=folder",
        f"dataset.root={root}",
        f"dataset.cache_dir={cache}",
        "dataset.num_workers=0",
        "dataset.image_size=32",
        "batch_size=32",
        "callbacks=none",
    ]


FOLDER_TINY = [
    override for override in TINY if "splits" not in override and "batch" not in override
]


def train_on_folder(root: Path, run: Path) -> Path:
    overrides = [*FOLDER_TINY, *folder_overrides(root, run / "cache"), f"run_dir={run}"]
    with command_line("train", *overrides) as cfg:
        train(cfg)
    return run


# --- protocols ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["knn", "linear"])
def test_rows_and_their_file(run: Path, protocol: str) -> None:
    overrides = QUICK if protocol == "linear" else []
    result = run_evaluate(f"ckpt={run}", *overrides)
    assert json.loads((run / "evaluation" / f"{protocol}.json").read_text()) == result
    assert list(result["rows"]) == ROWS
    for scores in result["rows"].values():
        tops = [value for name, value in scores.items() if "top1" in name and "class" not in name]
        assert len(tops) == (2 if protocol == "linear" else 6)
        assert all(0 <= top <= 1 for top in tops)
        assert scores["protocol_id"] == result["protocol_id"]
        assert scores["num_encoded"] == 360
    assert result["num_images"] == {"train": 270, "val": 30, "test": 60}
    assert len({str(scores) for scores in result["rows"].values()}) == 3


def test_table_of_all_protocols(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    knn = run_evaluate(f"ckpt={run}")["rows"]
    linear = run_evaluate(f"ckpt={run}", *QUICK)["rows"]
    capsys.readouterr()
    print_scores([run])
    table = capsys.readouterr().out
    assert table.index("knn") < table.index("linear")
    for row in ROWS:
        (line,) = [line for line in table.splitlines() if row in line]
        cells = [cell.strip() for cell in line.strip("│ ").split("│")]
        assert cells == [row, *(f"{100 * s[row]['test_top1']:.1f}" for s in (knn, linear))]


def test_random_weights_alone(tmp_path: Path) -> None:
    small = ["dataset.splits.num_train=200", "dataset.splits.num_test=50", "backbone.widths=[8]"]
    overrides = ["ckpt=random", "backbone.strides=[2]", f"out={tmp_path}", *small]
    result = run_evaluate(*overrides)
    assert list(result["rows"]) == ["random init", "raw pixels"]
    assert json.loads((tmp_path / "knn.json").read_text()) == result
    other = run_evaluate(*overrides, "seed=1")["rows"]
    assert other["raw pixels"] == result["rows"]["raw pixels"]
    assert other["random init"] != result["rows"]["random init"]


def test_a_file_scores_as_its_run(run: Path) -> None:
    whole = run_evaluate(f"ckpt={run}", "baselines=false")["rows"]
    assert list(whole) == ["pretrained"]
    last = run / "checkpoints" / "last.ckpt"
    assert run_evaluate(f"ckpt={last}", "baselines=false")["rows"] == whole
    loose = Path(shutil.copy(last, run / "weights.ckpt"))
    result = run_evaluate(f"ckpt={loose}", "baselines=false", f"out={run / 'elsewhere'}")
    assert result["rows"] == whole
    assert (run / "elsewhere" / "knn.json").is_file()


def test_knobs_of_the_data_set_are_carried_into_its_wiring(run: Path) -> None:
    overrides = ["dataset.splits.num_test=40", "dataset.val_fraction=0.5", "baselines=false"]
    result = run_evaluate(f"ckpt={run}", *overrides)
    assert result["num_images"] == {"train": 150, "val": 150, "test": 40}
    with pytest.raises(UserError, match=r"dataset\.root is no knob of the checkpoint's data set"):
        run_evaluate(f"ckpt={run}", "dataset.root=/tmp")


def test_another_data_set(run: Path) -> None:
    result = run_evaluate(f"ckpt={run}", "dataset=digits", "baselines=false")
    assert result["num_images"]["test"] == 360
    assert result["rows"]["pretrained"]["test_top1"] > 0.5  # digits are easy


def test_linear_of_the_same_seed(run: Path) -> None:
    overrides = [f"ckpt={run}", *QUICK, "protocol.linear.batch_size=64"]
    first = run_evaluate(*overrides)["rows"]
    assert run_evaluate(*overrides)["rows"] == first
    assert run_evaluate(*overrides, "seed=3")["rows"] != first


# --- test is read once, and nothing is chosen on it -----------------------------------------------


class Guarded(Features):
    """Features that count how often their representation is read."""

    reads = 0

    @property
    def representation(self) -> Tensor:
        Guarded.reads += 1
        return self[0]

    def __iter__(self) -> Iterator[Tensor]:
        Guarded.reads += 1
        return super().__iter__()

    def labelled(self) -> Features:
        return self


def blobs(seed: int, count: int) -> Features:
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 3
    noise = torch.randn(count, 8, generator=generator)
    return Features(2 * torch.nn.functional.one_hot(label, 8) + noise, label)


def linear_scores(test: Features, seed: int = 0) -> dict[str, Any]:
    task = planted(blobs(0, 300), blobs(1, 90), test, 3)
    task.seed = seed
    return Linear(epochs=3, batch_size=64).score(task)


def test_linear_reads_test_once_and_chooses_nothing_on_it() -> None:
    Guarded.reads = 0
    scores = linear_scores(Guarded(*blobs(2, 60)))
    assert Guarded.reads == 1
    # Test labels turned round change the test score and nothing else.
    wrong = blobs(2, 60)._replace(label=2 - blobs(2, 60).label)
    others = linear_scores(wrong)
    assert others.pop("test_top1") < scores.pop("test_top1")
    del others["test_top1_by_class"], scores["test_top1_by_class"]
    assert others == scores


def test_the_seed_moves_the_heads() -> None:
    test = blobs(2, 6000)
    assert linear_scores(test, seed=1) == linear_scores(test, seed=1) != linear_scores(test, seed=2)


# --- a folder that was moved ----------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[32], [32, 40, 56]], ids=["equal", "mixed"])
def test_a_moved_folder(tmp_path: Path, sizes: list[int]) -> None:
    old = write_images(tmp_path / "old", sizes)
    run = train_on_folder(old, tmp_path / "run")
    before = run_evaluate(f"ckpt={run}")
    new = old.rename(tmp_path / "new")
    with pytest.raises(UserError, match="old does not exist"):
        run_evaluate(f"ckpt={run}")
    after = run_evaluate(f"ckpt={run}", f"dataset.root={new}")
    assert after["rows"] == before["rows"]
    assert after["num_images"] == before["num_images"]
    assert after["dataset"]["root"] == str(new)


# --- bad input is one line ------------------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo[UserError]) -> None:
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint(run: Path) -> None:
    path = run / "checkpoints" / "last.ckpt"
    content = path.read_bytes()
    for bad in (content[: len(content) // 2], b"", b"\x00" * 1000):
        path.write_bytes(bad)
        with pytest.raises(UserError, match=r"last\.ckpt is not a readable checkpoint") as error:
            run_evaluate(f"ckpt={run}")
        one_line(error)


@pytest.mark.parametrize("content", [{"state_dict": {}}, torch.zeros(3), [1], {"ssl_zoo": {}}])
def test_a_foreign_torch_file(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match=r"foreign\.pt was not saved by ssl_zoo") as error:
        run_evaluate(f"ckpt={tmp_path / 'foreign.pt'}")
    one_line(error)


def test_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist") as error:
        run_evaluate(f"ckpt={tmp_path / 'nowhere'}")
    one_line(error)
    with pytest.raises(UserError, match=r"holds no checkpoints/last\.ckpt") as error:
        run_evaluate(f"ckpt={tmp_path}")
    one_line(error)


@pytest.mark.parametrize(
    ("labelled", "test", "said"),
    [(False, True, "has no labels"), (True, False, "has no test images")],
)
def test_a_data_set_that_cannot_be_scored(
    run: Path, tmp_path: Path, labelled: bool, test: bool, said: str
) -> None:
    root = write_images(tmp_path / "images", [32], labelled, test)
    data = [f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    with pytest.raises(UserError, match=said) as error:
        run_evaluate(f"ckpt={run}", "dataset=folder", *data)
    one_line(error)


def test_no_validation_images(run: Path) -> None:
    for protocol in ("knn", "linear"):
        with pytest.raises(UserError, match="val_fraction") as error:
            run_evaluate(f"ckpt={run}", f"protocol={protocol}", "dataset.val_fraction=0")
        one_line(error)


def test_a_headline_that_is_not_scored(run: Path) -> None:
    with pytest.raises(UserError, match=r"protocol\.knn\.k=7 is not among") as error:
        run_evaluate(f"ckpt={run}", "protocol.knn.k=7")
    one_line(error)


# --- load_backbone --------------------------------------------------------------------------------


def test_load_backbone_gives_the_features_of_the_trained_module(trained: Path) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8))
    checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    preprocess = checkpoint["ssl_zoo"]["preprocess"]
    with command_line("train", *TINY, f"run_dir={trained}") as cfg:
        module = ssl_zoo.config.instantiate(cfg.method.module)
    module.load_state_dict(checkpoint["state_dict"])
    mean, std = (torch.tensor(preprocess[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        expected = module.eval()((images.float() / 255 - mean) / std)
    for source in (trained, str(trained), trained / "checkpoints" / "best.ckpt"):
        backbone, prepare = ssl_zoo.load_backbone(source)
        assert not backbone.training
        with torch.inference_mode():
            torch.testing.assert_close(backbone(prepare(images)), expected)
    larger = torch.nn.functional.interpolate(images, size=(64, 64), mode="nearest")
    assert backbone(prepare(larger)).shape == (5, backbone.num_features) == (5, 16)


def bomb(path: str) -> None:
    Path(path).write_text("called")


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ([], "test_evaluate.bomb"),
        ([], "os.system"),
        ([], "ssl_zoo_evil.call"),
        ([], "torch.nn"),
        ([], "torch.hub.load"),
        ([], "ssl_zoo.errors.os.system"),
        ([], "torch.nn.functional.torch.hub.load"),
        ([], "ssl_zoo.config.${oc.decode:os.system}"),
        ([], "ssl_zoo.nothing"),
        (["widths"], "test_evaluate.bomb"),
    ],
)
def test_a_checkpoint_that_names_a_foreign_target(
    run: Path, tmp_path: Path, place: list[str], target: str
) -> None:
    path, proof = run / "checkpoints" / "last.ckpt", tmp_path / "proof"
    checkpoint = torch.load(path, weights_only=True)
    foreign = {"_target_": target}
    foreign |= {"command": f"touch {proof}"} if "system" in target else {"path": str(proof)}
    config = checkpoint["ssl_zoo"]["config"]
    if place:
        config["backbone"][place[0]] = foreign
    else:
        config["backbone"] = foreign
    torch.save(checkpoint, path)
    for load in (lambda: ssl_zoo.load_backbone(run), lambda: run_evaluate(f"ckpt={run}")):
        with pytest.raises(
            UserError, match=rf"names {re.escape(target)}, which ssl_zoo does not call"
        ):
            load()
    assert not proof.exists()


def test_a_data_set_of_a_foreign_target(run: Path, tmp_path: Path) -> None:
    path, proof = run / "checkpoints" / "last.ckpt", tmp_path / "proof"
    checkpoint = torch.load(path, weights_only=True)
    foreign = {"_target_": "test_evaluate.bomb", "path": str(proof)}
    checkpoint["ssl_zoo"]["config"]["data"]["splits"] = foreign
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r"names test_evaluate\.bomb"):
        run_evaluate(f"ckpt={run}")
    assert not proof.exists()


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return bomb, (self.path,)


@pytest.mark.parametrize("save", ["pickle", "torch"])
def test_a_pickle_bomb(tmp_path: Path, save: str) -> None:
    path, proof = tmp_path / "bomb.ckpt", tmp_path / "proof"
    content = {"state_dict": {}, "ssl_zoo": {"config": {}, "extra": Bomb(proof)}}
    if save == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    for load in (lambda: ssl_zoo.load_backbone(path), lambda: run_evaluate(f"ckpt={path}")):
        with pytest.raises(UserError, match=r"bomb\.ckpt is not a readable checkpoint"):
            load()
    assert not proof.exists()
    torch.load(path, weights_only=False) if save == "torch" else pickle.loads(path.read_bytes())
    assert proof.exists(), "the bomb is none: the test shows nothing"
