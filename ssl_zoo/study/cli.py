"""`python -m ssl_zoo.study plan|run|report`: fair comparisons of methods. Imports no torch."""

from __future__ import annotations

import errno
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssl_zoo.config import command_arguments, fail, nearest
from ssl_zoo.config.groups import first_comment, options_of, search
from ssl_zoo.stopping import STOPPING, Stopped, listen
from ssl_zoo.study.folder import StudyFolder
from ssl_zoo.study.plan import plan
from ssl_zoo.study.run import check_same, held, run, warn_of_code
from ssl_zoo.study.settings import GROUP, Settings, changed, read_folder, read_settings
from ssl_zoo.study.take_home import write_report
from ssl_zoo.types import UserError

_PROGRAM = "python -m ssl_zoo.study"
_COMMANDS = ("plan", "run", "report")
_OF_THE_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    errno.EPIPE,  # who reads what is printed is gone
)
# What a stopped command says of the next try.
_AGAIN = {
    "plan": "the plan is not complete: the same command plans again",
    "run": "the same command goes on",
    "report": "the same command writes the report",
}
_HELP = """ssl_zoo: a fair comparison of methods: equal tuning, selection on val, test read once

Usage: python -m ssl_zoo.study plan|run|report study=NAME [KNOB=VALUE ...]
       python -m ssl_zoo.study run|report FOLDER

  plan     compose and check everything, measure a step, say what it takes; trains nothing
  run      plan if that was not done, then trials, reruns, selection, final seeds, test, report;
           stop it anywhere, and the same command goes on
  report   everything again from the files: report.md, report.html, CSVs

== Studies (your own: study=FILE.yaml, or NAME.yaml in DIR/study with --config-dir DIR) ==
{studies}

== Knobs of a study, with their defaults ==
methods=[simclr,moco]   some of the file's methods, or train.py's with their defaults
common=[]          overrides of train.py for all methods
search.KNOB='tag(log,interval(1e-4,1e-2))'   for all methods; methods.NAME.search.KNOB=... for one
trials=20 sampler=sobol study_seed=0         sampler: {samplers}
metric=val/knn_top1                          what is selected by, at the last step
rerun.configs=3 rerun.seeds=2                the best ones again, before one is selected
seeds=5                                      final runs of each method
folds=null                                   [dataset.fold=0, dataset.fold=1, ...]
protocols=[knn,linear]                       of evaluate.py, on test; the first is the headline
floors=true ceiling=true oracle=true
held=[backbone, dataset, ...] allow_differ=[] waive=[]
unit=images budget=null                      unit: images, views, pixels, seconds
launcher=local jobs=null                     or submitit, with submitit.slurm_partition=NAME ...
out=null                                     the study's folder; null = runs/study_NAME

All other KEY=VALUE are overrides of train.py for all methods: dataset=cifar10 epochs=100 ...

== Examples ==
python -m ssl_zoo.study plan study=five_methods
python -m ssl_zoo.study run study=five_methods trials=3 seeds=2 rerun.configs=1 rerun.seeds=1
python -m ssl_zoo.study run study=five_methods methods=[simclr,moco] dataset=cifar10 epochs=100
python -m ssl_zoo.study run runs/study_five_methods        # goes on
"""


def help_text() -> str:
    """What --help prints."""
    from ssl_zoo.study.checks import SAMPLERS

    names = options_of(GROUP)
    width = max(map(len, names), default=0) + 3
    studies = "\n".join(f"{name:<{width}}{first_comment(GROUP, name)}" for name in names)
    return _HELP.format(studies=studies, samplers=", ".join(SAMPLERS))


def start(args: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code.

    Args:
        args: Without the program's name.

    Raises:
        UserError: Naming what is wrong, and the fix.
    """
    if not args or args[0] in ("--help", "-h", "help") or "--help" in args:
        print(help_text())
        return 0
    command, rest = args[0], list(args[1:])
    if command not in _COMMANDS:
        raise UserError(f"{command} is not a command: {nearest(command, _COMMANDS)}")
    line = shlex.join([*_PROGRAM.split(), *args])
    search(rest)
    rest = _without_config_dir(rest)
    settings = _settings(rest)
    if command == "report":
        return write_report(StudyFolder(settings.folder), settings.budget)
    if command == "run":
        return run(settings, line)
    with held(StudyFolder(settings.folder)) as folder:
        if folder.trials.is_file():
            check_same(folder, settings)
            raise UserError(f"{folder} has begun: python -m ssl_zoo.study run {folder} goes on")
        plan(settings, line)
        warn_of_code(folder, settings)
    return 0


def _settings(args: Sequence[str]) -> Settings:
    """Of a command line, or of the folder of a study that it names."""
    places = [arg for arg in args if "=" not in arg and not arg.startswith(("-", "~"))]
    out = [arg.partition("=")[2] for arg in args if arg.startswith("out=")]
    if not places and out and not any(arg.startswith(f"{GROUP}=") for arg in args):
        places = [out[-1]]
    if not places:
        return read_settings(args)
    path = Path(places[0]).expanduser()
    if not path.is_dir():
        names = options_of(GROUP)
        fix = f"give {GROUP}={path}" if str(path) in names else "give study=NAME, or its folder"
        raise UserError(f"{path} is not the folder of a study: {fix}")
    settings = replace(read_folder(StudyFolder(path).settings), out=str(path))
    return changed(settings, [a for a in args if a not in places and not a.startswith("out=")])


def _without_config_dir(args: list[str]) -> list[str]:
    kept, skip = [], False
    for arg in args:
        if skip:
            skip = False
        elif arg in ("--config-dir", "-cd"):
            skip = True
        elif not arg.startswith("--config-dir="):
            kept.append(arg)
    return kept


def main() -> None:
    """The command line; bad input gives one line on stderr and exit code 2."""
    logging.basicConfig(format="%(message)s")
    args = command_arguments()
    try:
        listen(STOPPING)
        sys.exit(start(args))
    except UserError as error:
        fail(error)
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        fail(UserError(f"{error.filename or 'the output'}: {error.strerror or error}"))
    except Stopped:
        print(f"stopped; {_AGAIN.get(args[0], 'nothing was done')}", flush=True)
        raise
