"""ssl_zoo's sweeper. Hydra takes plugins from this package only, and imports it at every start."""

from __future__ import annotations

from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """`hydra/sweeper=optuna`: a search with Optuna 5; `ssl_zoo.search` is what it does.

    Args:
        **settings: Those of conf/hydra/sweeper/optuna.yaml, read from the config again.
    """

    def __init__(self, **settings: Any) -> None:
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from hydra.core.plugins import Plugins

        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from ssl_zoo.search import search

        assert self.config is not None
        assert self.hydra_context is not None
        search(arguments, self.config, self.launcher, self.hydra_context.config_loader)
