"""Monitors, logging and checkpoints of a run: nothing here changes the weights."""

from ssl_zoo.callbacks.clean_features import CleanFeatures
from ssl_zoo.callbacks.collapse_monitor import CollapseMonitor
from ssl_zoo.callbacks.early_stopping import EarlyStopping
from ssl_zoo.callbacks.ema_momentum import EMAMomentum
from ssl_zoo.callbacks.finite_loss import FiniteLoss
from ssl_zoo.callbacks.forecast import Forecast
from ssl_zoo.callbacks.grad_norm import GradNorm
from ssl_zoo.callbacks.knn_monitor import KNNMonitor
from ssl_zoo.callbacks.learning_rates import LearningRates
from ssl_zoo.callbacks.linear_probe import LinearProbe
from ssl_zoo.callbacks.progress import Progress
from ssl_zoo.callbacks.retrieval_monitor import RetrievalMonitor
from ssl_zoo.callbacks.save_checkpoints import Checkpoints, Interrupted
from ssl_zoo.callbacks.sigreg_monitor import SIGRegMonitor
from ssl_zoo.callbacks.throughput import Throughput
from ssl_zoo.callbacks.train_metrics import TrainMetrics
from ssl_zoo.callbacks.trial_report import TrialReport

__all__ = [
    "Checkpoints",
    "CleanFeatures",
    "CollapseMonitor",
    "EMAMomentum",
    "EarlyStopping",
    "FiniteLoss",
    "Forecast",
    "GradNorm",
    "Interrupted",
    "KNNMonitor",
    "LearningRates",
    "LinearProbe",
    "Progress",
    "RetrievalMonitor",
    "SIGRegMonitor",
    "Throughput",
    "TrainMetrics",
    "TrialReport",
]
