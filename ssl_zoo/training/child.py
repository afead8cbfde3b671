"""A process that this one starts, such as a rank or a job: what it may import, and when it ends.

Imports no torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ssl_zoo.config import TRUST_VARIABLE, trusted_packages


def start_child(program: str, place: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `python -m PROGRAM PLACE`, which imports and trusts what this process does.

    It is in a session of its own, so that a terminal's Ctrl-C reaches this process only. It is to
    end when the other end of its stdin closes: when this process ends.

    Args:
        program: A module.
        place: Where it finds what it needs to know.
        env: Beside this process's environment.
    """
    ours = {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        TRUST_VARIABLE: ",".join(trusted_packages()),
    }
    sys.stdout.flush()
    sys.stderr.flush()
    safe = ["-P"] if sys.version_info >= (3, 11) else []  # no file in cwd hides a module
    return subprocess.Popen(
        [sys.executable, *safe, "-m", program, str(place)],
        env={**os.environ, **ours, **env},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
