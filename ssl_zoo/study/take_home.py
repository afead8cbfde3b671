"""The last lines of a study with a budget: which method, how sure that is, and its backbone."""

from __future__ import annotations

import math

from ssl_zoo.study import report
from ssl_zoo.study.folder import FINAL, StudyFolder
from ssl_zoo.study.reading import Study, read_study
from ssl_zoo.study.report.sections import export_command
from ssl_zoo.study.results import Suite, suites
from ssl_zoo.study.statistics import Difference


def write_report(folder: StudyFolder, budget: str | None) -> int:
    """Write the report, and say what a study with a budget is for.

    Args:
        folder: Of the study.
        budget: Its.

    Returns:
        The report's exit code.
    """
    code = report.write(folder)
    for line in take_home(folder) if budget is not None else []:
        print(line, flush=True)
    return code


def take_home(folder: StudyFolder) -> list[str]:
    """What a person wants to know, and the command that writes the winner's backbone.

    Args:
        folder: Of a study that is done.
    """
    study = read_study(folder)
    found = suites(study)
    if not found or found[0].comparison is None:
        return ["no method has a score on test: there is no backbone to take home"]
    suite = found[0]
    lines = [verdict(suite)]
    if floor := below_floor(suite):
        lines.append(floor)
    return [*lines, f"take it home: {command(study, suite)}"]


def command(study: Study, suite: Suite) -> str:
    """What writes the best method's backbone: of its first seed, not of its luckiest."""
    assert suite.comparison is not None
    best = suite.comparison.best
    own = [r for r in study.finals if (r.row.method, r.row.stage) == (best, FINAL)]
    done = sorted((r for r in own if r.is_done), key=lambda r: (r.row.seed, r.row.fold))
    return export_command(str(done[0].folder), best)


def verdict(suite: Suite) -> str:
    """Which method is ahead, and whether that can be relied on, in a sentence."""
    found = suite.comparison
    assert found is not None
    best = found.best
    others = [name for name in found.spreads if name != best]
    if not others:
        return f"{best} is the only method with a score ({_shown(suite, best)})"
    second = found.between(best, others[0])
    by, seeds = _points(suite, second), f"{second.n} seed{'s' * (second.n != 1)}"
    ahead = f"{best} is ahead of {others[0]}" + (f" by {by}" if second.mean else "")
    if second.better and found.undecided == [best]:
        all_others = ", and of all others" if len(others) > 1 else ""
        return (
            f"{ahead} on {seeds}{_interval(suite, second)}{all_others}: {_on_test(suite, second)}"
        )
    rest = [name for name in found.undecided if name != best]
    if second.mean == 0:
        ahead = f"{best} and {others[0]} have the same score"
    if second.n < 2:
        return f"{ahead}, but {seeds} in common cannot tell methods apart"
    them = "them apart" if rest == [others[0]] else f"{best} from {', '.join(rest)}"
    return f"{ahead}, but {seeds} cannot tell {them}{_interval(suite, second)}"


def _on_test(suite: Suite, difference: Difference) -> str:
    """What the test set's size says of a lead that all seeds show."""
    error = max(suite.sampling.get(difference.first, 0), suite.sampling.get(difference.second, 0))
    if difference.mean >= error:
        return "that can be relied on"
    return (
        f"seeds tell them apart, but a score on {suite.images} images has an error of "
        f"±{100 * error:.1f} points, so that the order may differ on other images"
    )


def below_floor(suite: Suite) -> str:
    """Says so if the best method does not beat what has learned nothing; else ""."""
    assert suite.comparison is not None
    best = suite.comparison.best
    sign = -1 if suite.lowest else 1
    score = suite.comparison.spreads[best].mean
    higher = {n: s.mean for n, s in suite.floors.items() if sign * (s.mean - score) >= 0}
    if not higher:
        return ""
    floors = ", ".join(f"{name} {_number(suite, mean)}" for name, mean in higher.items())
    return (
        f"but no method beats what has learned nothing ({floors}; {best} "
        f"{_number(suite, score)}): give it more time or images before its backbone is used"
    )


def _shown(suite: Suite, method: str) -> str:
    assert suite.comparison is not None
    return f"{suite.name} {_number(suite, suite.comparison.spreads[method].mean)}"


def _number(suite: Suite, value: float) -> str:
    return f"{100 * value:.1f}%" if suite.is_share else f"{value:.4g}"


def _points(suite: Suite, difference: Difference) -> str:
    return f"{100 * difference.mean:.1f} points" if suite.is_share else f"{difference.mean:.4g}"


def _interval(suite: Suite, difference: Difference) -> str:
    if difference.interval is None or not all(map(math.isfinite, difference.interval)):
        return ""
    scale = 100 if suite.is_share else 1
    low, high = (scale * end for end in difference.interval)
    return f" (95% interval {low:+.1f} to {high:+.1f})"
