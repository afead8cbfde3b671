"""What a checkpoint names is called only where it is ours or a library's that we allow."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch

import ssl_zoo
from helpers.bombs import Bomb
from helpers.programs import run_evaluate
from ssl_zoo.types import UserError


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ([], "helpers.bombs.bomb"),
        ([], "os.system"),
        ([], "ssl_zoo_evil.call"),
        ([], "torch.nn"),
        ([], "torch.hub.load"),
        ([], "ssl_zoo.config.cli.os.system"),
        ([], "torch.nn.functional.torch.hub.load"),
        ([], "ssl_zoo.config.${oc.decode:os.system}"),
        ([], "ssl_zoo.nothing"),
        (["widths"], "helpers.bombs.bomb"),
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
            UserError, match=rf"the checkpoint's config calls {re.escape(target)}[,:] "
        ):
            load()
    assert not proof.exists()


def test_a_data_set_of_a_foreign_target(run: Path, tmp_path: Path) -> None:
    path, proof = run / "checkpoints" / "last.ckpt", tmp_path / "proof"
    checkpoint = torch.load(path, weights_only=True)
    foreign = {"_target_": "helpers.bombs.bomb", "path": str(proof)}
    checkpoint["ssl_zoo"]["config"]["data"]["splits"] = foreign
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r"calls helpers\.bombs\.bomb"):
        run_evaluate(f"ckpt={run}")
    assert not proof.exists()


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
