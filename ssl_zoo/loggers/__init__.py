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
from ssl_zoo.loggers.wandb_evaluation import wandb_evaluation
from ssl_zoo.loggers.wandb_media import csv_table, rows_table, settings_table
from ssl_zoo.loggers.wandb_models import used

__all__ = [
    "CSVLog",
    "WandbRun",
    "closed_at_end",
    "count_images",
    "csv_table",
    "log_embeddings",
    "log_figures",
    "log_summary",
    "rows_table",
    "settings_table",
    "start",
    "tensorboard_logger",
    "used",
    "wandb_evaluation",
    "wandb_logger",
]
