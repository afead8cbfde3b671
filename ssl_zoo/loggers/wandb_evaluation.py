"""An evaluation as a W&B run: one of its own, linked with the runs that it scores, or theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssl_zoo.loggers.wandb import WandbRun, new_id
from ssl_zoo.loggers.wandb_options import mode_of, tag_list, text
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.types import BadValue


def wandb_evaluation(
    folder: str,
    scored: Sequence[Mapping[str, Any]],
    beside: str,
    project: str,
    name: str | None = None,
    group: str | None = None,
    mode: str = "auto",
    entity: str | None = None,
    tags: str | Sequence[str] | None = None,
    notes: str | None = None,
    job_type: str = "eval",
    log_model: bool | str = False,
    into_scored_run: bool = False,
    **options: Any,
) -> WandbRun:
    """W&B's run for an evaluation.

    Args:
        folder: Where the results go.
        scored: What is known of the W&B runs of what is scored, see `RunFolder.read_wandb`.
        beside: What is scored, in a word: the default name and group say it.
        project: As in `wandb_logger`, and so the others.
        name: None = eval_ and what is scored.
        group: None = that of the scored run, so that both are beside each other.
        mode: As in `wandb_logger`.
        entity: As in `wandb_logger`.
        tags: As in `wandb_logger`.
        notes: As in `wandb_logger`.
        job_type: As in `wandb_logger`.
        log_model: Not here: an evaluation makes no checkpoint.
        into_scored_run: Write into the W&B run of what is scored, which W&B must have.
        **options: As in `wandb_logger`.

    Raises:
        BadValue: If a value is not valid, or the scored run is not one that W&B has.
    """
    if log_model:
        raise BadValue("log_model", log_model, says="is for train.py: an evaluation trains nothing")
    mode = mode_of(mode)
    if into_scored_run:
        _check_into(mode, scored)
        place = {key: scored[0][key] for key in ("id", "project", "entity")}
        return WandbRun(
            RunFolder(folder), mode, continues=False, resume="must", **{**options, **place}
        )
    group = group or next((one["group"] for one in scored if one.get("group")), beside)
    texts = {"project": project, "group": group, "entity": entity, "notes": notes}
    texts |= {"name": name or f"eval_{beside}", "job_type": job_type}
    checked: dict[str, Any] = {key: text(key, value) for key, value in texts.items()}
    checked |= {"id": new_id(), "tags": tag_list(tags)}  # not WANDB_RUN_ID, maybe the scored run's
    return WandbRun(RunFolder(folder), mode, continues=False, **{**checked, **options})


def _check_into(mode: str, scored: Sequence[Mapping[str, Any]]) -> None:
    if mode != "online":
        says = "needs W&B online, which alone can look a run up: leave it out"
        raise BadValue("into_scored_run", True, says=says)
    if len(scored) != 1:
        says = f"needs one scored run that W&B has, and here are {len(scored)}: leave it out"
        raise BadValue("into_scored_run", True, says=says)
