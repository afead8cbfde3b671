"""A search over knobs with Optuna: `hydra/sweeper=optuna`. Importing it imports no Optuna."""

from __future__ import annotations

from ssl_zoo.search.link import TrialLink, was_pruned
from ssl_zoo.search.sweeper import search

__all__ = ["TrialLink", "search", "was_pruned"]
