"""What a run may change when it goes on, and what it says of its images, place and schedule."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from helpers.command_line import command_line
from helpers.configs import TINY, Make
from helpers.runs import start, state, train_with_signal
from helpers.tiers import every
from helpers.trees import make_classes, make_tree
from ssl_zoo.config import CHANGEABLE, flatten
from ssl_zoo.optim.schedules import cosine_factor
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import resume, train
from ssl_zoo.training.resume import Resumed, resumed
from ssl_zoo.types import UserError

_TINY = [override for override in TINY if "splits" not in override]
STEPS = 5  # per epoch: 44 images of train, 8 a batch


def overrides_of(place: Path) -> list[str]:
    return [
        *(*_TINY, "dataset=folder", f"dataset.root={place / 'images'}", "augmentation=shapes"),
        *(f"dataset.cache_dir={place / 'cache'}", "dataset.num_workers=0", "batch_size=8"),
        *("callbacks=none", "epochs=3", f"run_dir={place / 'run'}"),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, and a run on them that was stopped in its second epoch."""
    place = tmp_path_factory.mktemp("made") / "place"
    torch.set_num_threads(1)
    make_tree(place / "images", [(16, 16)], per_class=24)
    with command_line("train", *overrides_of(place)) as cfg:
        code = train_with_signal(cfg, STEPS + 2, pytest.MonkeyPatch())
    assert code == 143
    return Path(shutil.copytree(place, place.with_name("kept")))


@pytest.fixture
def place(made: Path) -> Path:
    """Both, as they were then."""
    shutil.rmtree(made.with_name("place"))
    return Path(shutil.copytree(made, made.with_name("place")))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def look(place: Path, caplog: pytest.LogCaptureFixture, *changes: str) -> tuple[Resumed, str]:
    """The run as it would go on, and the lines said; nothing may be written."""
    before = files_of(place / "run")
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        again = resumed(RunFolder.of(place / "run"), changes)
    assert files_of(place / "run") == before
    return again, "\n".join(caplog.messages)


def test_it_says_where_it_goes_on(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, said = look(place, caplog)
    assert said.endswith("goes on at epoch 2 of 3, step 7 of 15")
    assert "not exactly" not in said


@pytest.mark.parametrize(
    "below", every(4, ["checkpoints/last.ckpt", "checkpoints", "checkpoints/", "."])
)
def test_a_run_is_found_by_what_is_in_it(place: Path, below: str) -> None:
    assert RunFolder.of(f"{place}/run/{below}").path.resolve() == (place / "run").resolve()


def test_another_checkpoint_is_refused(place: Path) -> None:
    best = place / "run" / "checkpoints" / "best.ckpt"
    shutil.copy(place / "run" / "checkpoints" / "last.ckpt", best)
    with pytest.raises(UserError, match=r"best\.ckpt is not a run's last\.ckpt.*give the run"):
        RunFolder.of(best)
    stray = place / "last.ckpt"
    shutil.copy(best, stray)
    with pytest.raises(UserError, match=r"place/last\.ckpt is not a run's last\.ckpt"):
        RunFolder.of(stray)
    with pytest.raises(UserError, match=r"resume=nowhere does not exist"):
        RunFolder.of("nowhere")


def lines_of(place: Path, caplog: pytest.LogCaptureFixture) -> str:
    """What is said of other images: a line that warns, or one that refuses."""
    try:
        return look(place, caplog)[1]
    except UserError as error:
        return f"refused: {error}"


def test_half_of_the_images_deleted(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(12):
        (place / "images" / "cat" / f"{i}.png").unlink()
        (place / "images" / "dog" / f"{i}.png").unlink()
    said = lines_of(place, caplog)
    assert said.startswith("refused: ")
    assert "train has 22 images (was 44); val has 2 images (was 4)" in said
    assert "restore the images, give dataset.root=DIR where they are, or start a new run" in said


def test_a_refused_resume_keeps_the_list_of_what_was_skipped(place: Path) -> None:
    kept = RunFolder(place / "run").skipped
    kept.write_text("x.png: broken\n")
    next((place / "images" / "cat").iterdir()).unlink()
    with pytest.raises(UserError, match="cannot go on"):
        resumed(RunFolder.of(place / "run"), [])
    assert kept.read_text() == "x.png: broken\n"


def test_a_new_class(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(place / "images" / "cat", place / "images" / "zebra")
    said = lines_of(place, caplog)
    assert said.startswith("refused: ")
    assert "class zebra is new; train has 66 images (was 44)" in said


def test_a_class_for_another(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As many images and classes: it goes on, and says so."""
    (place / "images" / "dog").rename(place / "images" / "wolf")
    said = lines_of(place, caplog)
    assert "but not exactly: class wolf is new; class dog is gone" in said


def test_a_renamed_file(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(24):
        (place / "images" / "cat" / f"{i}.png").rename(place / "images" / "cat" / f"x{i}.png")
    assert "train has as many images, but others or under other names" in lines_of(place, caplog)


def test_files_of_other_contents(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, target = (place / "images" / name / "0.png" for name in ("cat", "dog"))
    target.write_bytes(source.read_bytes() + b"0")
    said = lines_of(place, caplog)
    assert "has files of other contents" in said
    assert "goes on at epoch 2" in said


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("val_fraction: 0.1", "val_fraction: 0.3", "refused: .*train has 34 images .was 44"),
        (
            "\n  split_seed: 0",
            "\n  split_seed: 7",
            "but not exactly: train and val are",
        ),
    ],
)
def test_another_split_of_the_same_images(
    place: Path, caplog: pytest.LogCaptureFixture, old: str, new: str, line: str
) -> None:
    config = place / "run" / "config.yaml"
    config.write_text(config.read_text().replace(old, new))
    said = lines_of(place, caplog)
    assert "the same images, split differently" in said
    assert re.search(line, said)


@pytest.mark.slow
def test_a_test_folder_is_said(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = place / "images"
    images.rename(place / "train")
    images.mkdir()
    (place / "train").rename(images / "train")
    make_classes(images / "test", ["cat", "dog"], size=16)
    assert "but not exactly: test has 8 images (was no)" in lines_of(place, caplog)


def test_an_earlier_versions_checkpoint_goes_on(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = place / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(last)
    for key in ("split", "wiring", "reached"):
        del content["ssl_zoo"][key]
    torch.save(content, last)
    _, said = look(place, caplog)
    assert "is of an earlier version, which did not save its split: not compared" in said
    assert "goes on at epoch 2 of 3" in said
    assert look(place, caplog, "trainer.profiler=simple")[0].config["trainer"]["profiler"]
    with pytest.raises(UserError, match=r"^epochs=9: this run is of an earlier version"):
        resumed(RunFolder.of(place / "run"), ["epochs=9"])


CHANGES = {
    "epochs=6": {
        "trainer.max_epochs": 6,
        "scheduler.epochs": 6,
        "scheduler.warmup_epochs": 0.05 * 6,
    },
    "devices=2": {"trainer.devices": 2},
    "dataset.num_workers=3": {"data.num_workers": 3},
    "save_every_n_minutes=2": {"save_every_n_minutes": 2},
    "trainer.profiler=simple": {"trainer.profiler": "simple"},
    "trainer.detect_anomaly=true": {"trainer.detect_anomaly": True},
    "logger=tensorboard": {"logger.tensorboard.folder": None},
}


@pytest.mark.parametrize("change", every(3, CHANGES))
def test_what_may_change(place: Path, caplog: pytest.LogCaptureFixture, change: str) -> None:
    again, said = look(place, caplog, change)
    flat = flatten(again.config)
    for knob, value in CHANGES[change].items():
        assert flat[knob] == (str(place / "run") if value is None else value)
    key = change.partition("=")[0]
    assert said.count(" (was ") == 1 + ("epochs" in key), said
    assert f"goes on with {key}=" in said
    assert flat["method.module.scheduler.epochs"] == flat["epochs"]


def test_the_images_may_lie_elsewhere(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    (place / "images").rename(place / "moved")
    with pytest.raises(UserError, match=r"^dataset\.root=.*images does not exist"):
        resumed(RunFolder.of(place / "run"), [])
    caches = f"dataset.cache_dir={place / 'other'}"
    again, said = look(place, caplog, f"dataset.root={place / 'moved'}", caches)
    assert "not exactly" not in said
    assert again.config["data"]["splits"]["root"] == str(place / "moved")
    assert (place / "other").is_dir()


@pytest.mark.parametrize(
    "refused",
    ["batch_size=4", "seed=1", "method=byol", "~logger", "+x=1", "dataset=shapes", "run_dir=x"],
)
def test_another_override_is_refused(place: Path, refused: str) -> None:
    with pytest.raises(UserError) as caught:
        resume(place / "run", "epochs=5", refused)
    assert f"own config: remove {refused}; what may change is epochs, devices" in str(caught.value)
    assert all(key in str(caught.value) for key in CHANGEABLE)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("epochs=1", r"^epochs=1: the run has done 1: give 2 or more$"),
        ("epochs=many", r"^epochs=many: give a whole number"),
        ("devices=0", r"^devices=0: give a whole number"),
        ("dataset.num_workers=-1", r"^dataset\.num_workers=-1: give 0 or more$"),
        ("save_every_n_minutes=0", r"^save_every_n_minutes=0: give a number above 0$"),
        ("trainer.detect_anomaly=maybe", r"trainer\.detect_anomaly=maybe: give true or false"),
        ("epochs=4,5", r"^epochs=4,5: a run that goes on takes one value$"),
        ("logger.wandb.tags=[a]", r"it has no wandb: add logger=wandb$"),
        ("dataset.root=/nowhere", r"root=/nowhere does not exist"),
    ],
)
def test_a_value_that_cannot_be(place: Path, change: str, line: str) -> None:
    before = files_of(place / "run")
    with pytest.raises(UserError, match=line):
        resumed(RunFolder.of(place / "run"), [change])
    assert files_of(place / "run") == before


def test_a_knob_that_the_data_set_lacks(run: Path) -> None:
    (run / "result.json").unlink()
    with pytest.raises(UserError, match=r"dataset\.root is not a knob of this run's dataset$"):
        resumed(RunFolder.of(run), ["dataset.root=x"])


@pytest.mark.slow
def test_a_loggers_knob_of_the_run_itself(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = look(place, caplog, "logger=wandb", "logger.wandb.tags=[a]")
    assert first.config["logger"]["wandb"]["tags"] == ["a"]
    first.folder.change(first.config, "later: resume")
    second, _ = look(place, caplog, "logger.wandb.tags=[b]", "+logger.wandb.id=x")
    assert second.config["logger"]["wandb"] == first.config["logger"]["wandb"] | {
        "tags": ["b"],
        "id": "x",
    }


@pytest.mark.slow
def test_changes_stay(place: Path) -> None:
    resume(place / "run", "epochs=4", "trainer.profiler=simple")
    text = (place / "run" / "config.yaml").read_text()
    assert text.splitlines()[1] == "# later: resume with epochs=4 trainer.profiler=simple"
    config = yaml.safe_load(text)
    assert (config["epochs"], config["trainer"]["max_epochs"]) == (4, 4)
    assert state(place / "run")["global_step"] == 4 * STEPS
    assert json.loads((place / "run" / "result.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_value_that_lightning_refuses_does_not_stay(place: Path) -> None:
    config = (place / "run" / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=r"trainer\.profiler=nothing"):
        resume(place / "run", "trainer.profiler=nothing")
    assert (place / "run" / "config.yaml").read_bytes() == config


@pytest.fixture
def finished(place: Path) -> Path:
    """The run, as if it had been killed after its last checkpoint: it does not say `finished`."""
    resume(place / "run")
    folder = RunFolder(place / "run")
    folder.write_result(folder.read_result() | {"status": "running", "metrics": {}})
    return place


def test_a_run_killed_after_its_last_step_only_says_so(
    finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(finished / "run")
    before = folder.last.read_bytes()
    shutil.rmtree(finished / "images")  # nothing is left that needs them
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        metrics = resume(folder.path)
    assert "had ended at step 15: its report is all that is left" in caplog.text
    assert folder.last.read_bytes() == before
    assert folder.read_result()["status"] == "finished"
    assert folder.read_result()["metrics"] == metrics
    assert metrics["train/loss"] == folder.read_metrics()["train/loss"][-1][1]
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        assert resume(folder.path, "save_every_n_minutes=1") == metrics
    assert "is finished: nothing left to do" in caplog.messages[-1]


@pytest.mark.slow
def test_a_finished_run_goes_on_for_longer(
    finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its steps have the rates of a run of that length, from the first on."""
    folder = RunFolder(finished / "run")
    folder.write_result(folder.read_result() | {"status": "finished"})
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        resume(folder.path, "epochs=5")
    assert "goes on at epoch 4 of 5, step 15 of 25" in caplog.text
    total, warmup = 5 * STEPS, int(5 * STEPS * 0.05 + 1e-6)
    peak = state(folder.path)["optimizer_states"][0]["param_groups"][0]["initial_lr"]  # type: ignore[index]
    rate = peak * cosine_factor(15, total, warmup)
    assert f"the learning rate goes on at {rate:.3g} (was 0)" in caplog.text
    assert state(folder.path)["global_step"] == total
    assert folder.read_result()["status"] == "finished"


@pytest.mark.slow
def test_a_targets_momentum_goes_back_and_is_said(
    make_config: Make, caplog: pytest.LogCaptureFixture
) -> None:
    knobs = ["method=mocov3", "method.hidden_dim=16", "method.predictor_dim=16", "callbacks=none"]
    cfg = make_config(*knobs, "epochs=1", "dataset.splits.num_train=80", "batch_size=16")
    train(cfg)
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        resume(cfg.run_dir, "epochs=2")  # half of the way from 0.99 to 1
    assert "the target's momentum goes on at 0.995, the learning rate goes on at" in caplog.text


@pytest.mark.slow
def test_the_first_step_has_the_new_rate(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = torch.optim.AdamW.step

    def noted(self: torch.optim.AdamW, *args: object, **kwargs: object) -> object:
        rates.append(self.param_groups[0]["lr"] / self.param_groups[0]["initial_lr"])
        return step(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    resume(place / "run", "epochs=4")
    total, warmup = 4 * STEPS, int(4 * STEPS * 0.05 + 1e-6)
    assert rates == pytest.approx([cosine_factor(k, total, warmup) for k in range(7, total)])


@pytest.mark.slow
def test_a_config_from_python_is_not_read_in_silence(
    place: Path, caplog: pytest.LogCaptureFixture, make_config: Make
) -> None:
    train(make_config(f"resume={place / 'run'}", "seed=5", tiny=False))
    warned = [m for m in caplog.messages if "goes on with the run's own config" in m]
    assert len(warned) == 1
    assert "own config: seed of this one is not read; ssl_zoo.train.resume(RUN" in warned[0]
    assert state(place / "run")["global_step"] == 3 * STEPS


STOPPING = [
    *("callbacks=early_stopping", "callbacks.early_stopping.patience=0"),
    *("callbacks.early_stopping.monitor=train/loss", "callbacks.early_stopping.mode=min"),
    *("callbacks.early_stopping.min_delta=100", "monitor.every_n_epochs=1"),
]


@pytest.mark.slow
def test_a_run_killed_after_early_stopping_trains_no_further(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = train(make_config("epochs=6", *STOPPING))
    folder = RunFolder(tmp_path / "run")
    stopped = state(folder.path)["global_step"]
    assert stopped == 8  # of 24
    folder.write_result(folder.read_result() | {"status": "running", "metrics": {}})
    assert resume(folder.path) == metrics
    assert state(folder.path)["global_step"] == stopped
    assert folder.read_result()["metrics"] == metrics
    resume(folder.path, "epochs=8")  # is asked for, so that it goes on
    assert state(folder.path)["global_step"] == 12


@pytest.mark.slow
def test_the_command_line(place: Path) -> None:
    """In a process of its own, whose data set and loggers are not those of a new run."""
    (place / "images").rename(place / "moved")
    last = place / "run" / "checkpoints" / "last.ckpt"
    moved = f"dataset.root={place / 'moved'}"
    refused = start(f"resume={last}", moved, "method.temperature=1")
    output = refused.communicate()[0]
    assert refused.returncode == 2
    assert output.startswith("error: resume continues with the run's own config: remove method.t")
    assert output.count("\n") == 1
    run = start(f"resume={last}", moved, "epochs=4", "logger=tensorboard")
    output = run.communicate()[0]
    assert run.returncode == 0, output
    assert "goes on at epoch 2 of 4, step 7 of 20" in output
    assert list((place / "run" / "tensorboard").iterdir())
    config = yaml.safe_load((place / "run" / "config.yaml").read_text())
    assert config["dataset"]["root"] == str(place / "moved")


@pytest.mark.slow
@pytest.mark.ddp
def test_on_two_devices_it_ends_as_on_one(tmp_path: Path) -> None:
    """But for the running statistics of the batch norms, which are rank 0's."""
    args = [*TINY, "epochs=2", "method=moco", "callbacks=none", "optimizer=sgd"]
    with command_line("train", *args, f"run_dir={tmp_path / '1'}") as cfg:
        train_with_signal(cfg, 5, pytest.MonkeyPatch())
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    resume(tmp_path / "1")
    again = start(f"resume={tmp_path / '2'}", "devices=2")
    output = again.communicate()[0]
    assert again.returncode == 0, output
    ours, theirs = (state(tmp_path / name)["state_dict"] for name in ("1", "2"))
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    for name, value in ours.items():
        if "running" not in name:
            assert torch.allclose(value.double(), theirs[name].double(), atol=1e-4), name
