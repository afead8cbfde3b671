"""TensorBoard's files."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
from pytorch_lightning.loggers import TensorBoardLogger


def tensorboard_logger(folder: str) -> TensorBoardLogger:
    """TensorBoard's files in the run folder."""
    return TensorBoardLogger(save_dir=folder, name="tensorboard", version="")


def add_picture(logger: TensorBoardLogger, name: str, path: Path, step: int) -> None:
    """Add a picture of the run."""
    image = matplotlib.image.imread(path)[..., :3]
    logger.experiment.add_image(name, image, global_step=step, dataformats="HWC")
