"""What a run ended with, as result.json says it. Imports no torch.

`finished` and `collapsed` reached the last step; `nan`, `out_of_memory` and `failed` did not;
`interrupted` was stopped by a signal.
"""

from __future__ import annotations

import sys

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.run_folder import FAILED, NAN, OUT_OF_MEMORY
from ssl_zoo.stopping import Stopped
from ssl_zoo.types import NotFinite, UserError

BAD_INPUT = (UserError, HydraException, OmegaConfBaseException)  # one line, no stack trace
INTERRUPTED = "interrupted"
RESULTS = (NAN, OUT_OF_MEMORY)  # of a job, and no failure of its sweep


def status_of(error: BaseException) -> str:
    """The status of a run that an error ended."""
    # Lightning exits where it comes to know of Ctrl-C
    if any(isinstance(e, KeyboardInterrupt | Stopped) for e in (error, error.__context__)):
        return INTERRUPTED
    if isinstance(error, NotFinite):
        return NAN
    return OUT_OF_MEMORY if any(map(_is_out_of_memory, _causes(error))) else FAILED


def was_stopped(error: BaseException) -> bool:
    """Whether a signal ended a run, not an error."""
    return status_of(error) == INTERRUPTED


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it, such as that of a part behind one of Hydra's."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__
    return found


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if "torch" not in sys.modules:
        return False
    import torch
    from pytorch_lightning.utilities.memory import is_oom_error

    return isinstance(error, torch.OutOfMemoryError) or is_oom_error(error)
