"""The backbone and data that a checkpoint brings, and where its results lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ssl_zoo.checkpoints import Source, find_checkpoint
from ssl_zoo.config import check_targets, task_overrides
from ssl_zoo.types import UserError


def saved_data(config: dict[str, Any], source: Source) -> dict[str, Any]:
    """Backbone, data set and data wiring that a checkpoint brings; the command line goes before."""
    if source.pretrained is None:
        return {}
    overrides = task_overrides()
    own = source.extras is not None and not other_dataset()
    brought = ("backbone", "augmentation", "data.") if own else ("backbone",)
    fixed = [o for o in overrides if o.lstrip("+~").startswith(brought)]
    if fixed:
        raise UserError(f"{fixed[0]}: ckpt={source.ckpt} brings its own, remove it")
    backbone = {"backbone": source.pretrained.config}
    if source.extras is None or not own:
        return backbone
    saved = source.extras["config"]
    check_targets([saved["dataset"], saved["data"]])
    dataset = OmegaConf.create(saved["dataset"])
    given = [o.lstrip("+") for o in overrides if o.lstrip("+").startswith("dataset.")]
    data = OmegaConf.merge(saved["data"], {"eval_batch_size": config["batch_size"]})
    if "skipped_list" in data.splits:
        data.splits.skipped_list = None  # the training run wrote it
    if given:
        dataset = OmegaConf.merge(dataset, OmegaConf.from_dotlist(given).dataset)
        _set_in_place(data, given)
    return backbone | {
        "dataset": OmegaConf.to_container(dataset),
        "data": OmegaConf.to_container(data),
    }


def other_dataset() -> bool:
    """Whether the command line names a data set."""
    return any(o.startswith("dataset=") for o in task_overrides())


def _set_in_place(data: Any, given: list[str]) -> None:
    """Carry dataset.* overrides into the saved wiring, which is resolved already."""
    for key, value in OmegaConf.from_dotlist(given).dataset.items():
        place = data if key in data else data.splits
        if key not in place:
            raise UserError(f"dataset.{key} is no knob of the checkpoint's data set")
        OmegaConf.update(place, str(key), value)


def result_folder(sources: list[Source], dataset: str, features: str) -> tuple[Path, str]:
    """Where results lie by default, and what their names end with to tell them apart.

    Several runs' lie beside the runs, which a sweep holds in one folder, and carry their names.
    """
    first = sources[0]
    if first.pretrained is None:
        return Path("runs") / f"random_{dataset}" / "evaluation", ""
    suffix = f"_{dataset}" if other_dataset() else ""
    suffix += f"_{features}" if features != "auto" else ""
    if not Path(first.ckpt).expanduser().exists():  # torchvision:NAME
        folder = Path("runs") / first.ckpt.replace(":", "_").replace("/", "_")
        return folder / "evaluation", suffix
    file = find_checkpoint(first.ckpt)
    in_run = file.parent.name == "checkpoints"
    folder = file.parent.parent if in_run else file.parent
    if len(sources) > 1:
        names = "_".join(Path(source.ckpt).stem for source in sources)
        return (folder.parent if in_run else folder) / "evaluation", f"_{names[:60]}{suffix}"
    stem = "" if file.stem == "last" else f"_{file.stem}"
    return folder / "evaluation", stem + suffix
