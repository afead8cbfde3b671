"""A run's checkpoint has a format; one of another version is refused in one line everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.configs import Make
from helpers.programs import run_evaluate
from helpers.tiers import every
from ssl_zoo import load_backbone
from ssl_zoo.checkpoints import FORMAT, load_pretrained, open_source
from ssl_zoo.checkpoints.export import export
from ssl_zoo.train import train
from ssl_zoo.types import UserError

BEFORE = (
    r"/last\.ckpt is from before format 1 of 2026-11 and cannot be read by this version: train or "
    r"export it again, or check out the commit that saved it$"
)
NEWER = (
    rf"/last\.ckpt has format {FORMAT + 1}, which a newer version of ssl_zoo saved: this one reads "
    rf"format {FORMAT}, update it$"
)


def test_what_a_run_saved_beside_its_weights(run: Path) -> None:
    saved = load_pretrained(run).run
    assert saved is not None
    assert saved["format"] == FORMAT == 1
    assert saved["config"]["name"] == "test"
    assert saved["preprocess"]["image_size"] == 32
    assert len(saved["train_classes"]) == 10


def rewrite(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    change(content["ssl_zoo"])
    torch.save(content, path)


def as_before(saved: dict[str, Any]) -> None:
    """As runs were saved until the layout of the package changed."""
    del saved["format"]
    saved["config"]["backbone"]["_target_"] = "ssl_zoo.modules.small_nets.ConvNet"


def as_newer(saved: dict[str, Any]) -> None:
    saved["format"] = FORMAT + 1
    saved["config"]["backbone"] = {"network": "a place that this version does not know"}


@pytest.mark.parametrize(("change", "said"), every(2, [(as_before, BEFORE), (as_newer, NEWER)]))
def test_a_run_of_another_version(
    change: Callable[[dict[str, Any]], None],
    said: str,
    run: Path,
    make_config: Make,
    tmp_path: Path,
) -> None:
    rewrite(run, change)
    result = run / "result.json"
    result.write_text(result.read_text().replace('"finished"', '"interrupted"'))
    for use in (
        lambda: load_backbone(run),
        lambda: open_source(str(run), "auto"),
        lambda: run_evaluate(f"ckpt={run}"),
        lambda: export(run, "safetensors", tmp_path / "out.safetensors"),
        lambda: train(make_config(f"init={run}", run="second")),
        lambda: train(make_config(f"resume={run}", run="third")),
    ):
        with pytest.raises(UserError, match=said):
            use()


def test_a_resume_from_another_program(run: Path, make_config: Make) -> None:
    torch.save({"state_dict": {}}, run / "checkpoints" / "last.ckpt")
    result = run / "result.json"
    result.write_text(result.read_text().replace('"finished"', '"interrupted"'))
    with pytest.raises(UserError, match=r"last\.ckpt was not saved by ssl_zoo: it holds no config"):
        train(make_config(f"resume={run}"))


def test_auto_is_what_the_method_is_made_for(run: Path) -> None:
    assert open_source(str(run), "auto").output == "representation"
    rewrite(run, lambda saved: saved["config"]["method"].update(scored_on="embedding"))
    source = open_source(str(run), "auto")
    assert source.output == "embedding"
    assert source.pretrained is not None
    assert source.pretrained.backbone.num_features == 128
    assert open_source(str(run), "representation").output == "representation"
    assert source.seen_classes == frozenset(source.pretrained.run["train_classes"])  # type: ignore[index]
