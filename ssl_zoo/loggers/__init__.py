"""Where a run's numbers and pictures go: metrics.csv always, W&B and TensorBoard on request."""

from ssl_zoo.loggers.csv import CSVLog
from ssl_zoo.loggers.log import (
    closed_at_end,
    count_images,
    log_embeddings,
    log_figures,
    log_summary,
    start,
)
from ssl_zoo.loggers.tensorboard import tensorboard_logger
from ssl_zoo.loggers.wandb import WandbRun, wandb_logger

__all__ = [
    "CSVLog",
    "WandbRun",
    "closed_at_end",
    "count_images",
    "log_embeddings",
    "log_figures",
    "log_summary",
    "start",
    "tensorboard_logger",
    "wandb_logger",
]
