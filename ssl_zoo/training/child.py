"""A process that this one starts, such as a rank or a job: what it may import, and when it ends.

Imports no torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

from ssl_zoo.config import TRUST_VARIABLE, trusted_packages
from ssl_zoo.launched import CHILD


def start_child(
    program: str, args: Sequence[str], env: Mapping[str, str], output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m PROGRAM ARG ...`, which imports and trusts what this process does.

    It is in a session of its own, so that a terminal's Ctrl-C reaches this process only. It is to
    end when the other end of its stdin closes: when this process ends.

    Args:
        program: A module.
        args: Of its command line.
        env: Beside this process's environment.
        output: Where it prints; None = where this process does.
    """
    ours = {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        TRUST_VARIABLE: ",".join(trusted_packages()),
        CHILD: "1",
    }
    sys.stdout.flush()
    sys.stderr.flush()
    safe = ["-P"] if sys.version_info >= (3, 11) else []  # no file in cwd hides a module
    return subprocess.Popen(
        [sys.executable, *safe, "-m", program, *args],
        env={**os.environ, **ours, **env},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
    )
