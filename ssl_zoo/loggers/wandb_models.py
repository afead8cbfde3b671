"""Checkpoints as W&B's artifacts, with what they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssl_zoo.console import info
from ssl_zoo.run_folder import RunFolder


def artifact_of(run_id: str) -> str:
    """The artifact that holds the checkpoints of a W&B run."""
    return f"checkpoints-{run_id}"


def upload(run: Any, folder: RunFolder, step: int) -> None:
    """Log last.ckpt and best.ckpt, as far as they are there, as one version of an artifact.

    Args:
        run: W&B's.
        folder: The run's.
        step: The last one that was logged.
    """
    from wandb import Artifact

    files = [file for file in (folder.last, folder.best) if file.is_file()]
    if not files:
        return
    known = folder.read_wandb()
    metadata = {
        "run": run.id,
        "folder": str(folder),
        "step": step,
        "init": run.config.get("init"),
        **known.get("options", {}),
    }
    artifact = Artifact(artifact_of(run.id), "model", metadata=metadata)
    for file in files:
        artifact.add_file(str(file), name=file.name)
    run.log_artifact(artifact, aliases=["latest", f"step-{step}"])


def used(run: Any, mode: str, ckpt: str) -> None:
    """Say that a run starts from, or scores, a checkpoint of another run that W&B has.

    Args:
        run: W&B's.
        mode: Offline, W&B cannot look an artifact up: the config names the checkpoint.
        ckpt: A run folder or a file in it; others have no artifact.
    """
    known = run_of(ckpt).read_wandb()
    if mode != "online" or not known.get("log_model"):
        return
    place = "/".join(filter(None, [known["entity"], known["project"], artifact_of(known["id"])]))
    try:
        run.use_artifact(f"{place}:latest")
    except Exception as error:  # deleted, or never sent
        info(f"W&B: {place} is not linked: {error}")


def run_of(ckpt: str) -> RunFolder:
    """The run that a checkpoint is of, if it is one of ours."""
    path = Path(ckpt).expanduser()
    return RunFolder(path if path.is_dir() else path.parent.parent)
