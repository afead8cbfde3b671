"""The door of a search: what must be installed and given. Imports no Optuna."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig

from ssl_zoo.extras import how_to_install, need
from ssl_zoo.types import UserError

_HYDRAS = "hydra_plugins.hydra_optuna_sweeper"
_GROUP = "hydra/sweeper=optuna"


def search(arguments: list[str], config: DictConfig, launcher: Any, config_loader: Any) -> None:
    """Search over the knobs of a command line.

    Args:
        arguments: Its overrides.
        config: The composed config of the multirun, with `hydra`.
        launcher: Of Hydra.
        config_loader: Of Hydra.

    Raises:
        UserError: If something is missing, or makes no sense.
    """
    _check_installed()
    from ssl_zoo.search.trials import Search

    Search(arguments, config, launcher, config_loader).run()


def _check_installed() -> None:
    """Refuse without Optuna 5; say where Hydra's own plugin is installed too.

    Raises:
        UserError: With the command that installs it.
    """
    hydras = find_spec(_HYDRAS) is not None
    remove = "pip uninstall hydra-optuna-sweeper" if hydras else ""
    need(_GROUP, "optuna")
    if (has := version("optuna")).split(".")[0] != "5":
        because = f", which hydra-optuna-sweeper needs: {remove}, then" if hydras else ":"
        raise UserError(
            f"{_GROUP} needs Optuna 5, installed is {has}{because} {how_to_install('optuna')}"
        )
    if hydras:
        print(
            f"{_GROUP}: hydra-optuna-sweeper is installed too and has the same name; this search "
            f"is ssl_zoo's, with Optuna {has}: {remove} removes the other",
            flush=True,
        )
