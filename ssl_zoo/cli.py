"""The command `ssl-zoo`: the programs, wherever ssl_zoo is installed. Imports no torch."""

from __future__ import annotations

import runpy
import sys

from ssl_zoo.stopping import end_quietly

_PROGRAMS = {
    "train": ("ssl_zoo.train", "pretrain a backbone, or a grid of them"),
    "evaluate": ("ssl_zoo.evaluate", "score a backbone"),
    "export": ("ssl_zoo.export", "write a backbone for another library"),
    "table": ("ssl_zoo.table", "print what runs scored, and sweeps"),
    "study": ("ssl_zoo.study", "compare methods fairly"),
}
_USAGE = "\n".join(
    [
        "Usage: ssl-zoo PROGRAM [ARGUMENT ...]",
        "",
        *(f"  {name:9} {what}" for name, (_, what) in _PROGRAMS.items()),
        "",
        "ssl-zoo PROGRAM --help lists a program's arguments.",
    ]
)


def main() -> None:
    """Run a program as `python -m` does; an unknown one gives one line and exit code 2."""
    end_quietly()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print(_USAGE)
        return
    if name not in _PROGRAMS:
        from ssl_zoo.config import nearest

        print(f"error: {name} is not a program: {nearest(name, _PROGRAMS)}", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    # as the main module, so that processes that Lightning spawns start it the same way
    runpy.run_module(_PROGRAMS[name][0], run_name="__main__", alter_sys=True)
