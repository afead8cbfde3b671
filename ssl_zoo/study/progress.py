"""What a person sees of a running study: a live table on a terminal, else lines. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as RichTable

from ssl_zoo.console import duration
from ssl_zoo.metric_names import metric_named
from ssl_zoo.study.counts import reading_seconds, run_seconds
from ssl_zoo.study.folder import CEILING, FINAL, HPO, RERUN, RunRow
from ssl_zoo.study.rows import PENDING, ranking

_STAGES = {HPO: "trials", RERUN: "reruns", FINAL: "finals"}
_OVERHEAD = 6.0  # seconds of a run outside of its own clock: starting Python and importing torch


class Progress:
    """Says what runs, what is left, when it will end, and the best so far.

    Args:
        plan: plan.json.
        metric: That the study selects by.
        slots: Runs at once.
    """

    def __init__(self, plan: Mapping[str, Any], metric: str, slots: int) -> None:
        self.plan, self.slots = plan, slots
        self.metric = metric_named(metric)
        self.rows: Sequence[RunRow] = []
        self.readings: dict[str, int] = {}
        self.running: dict[str, float] = {}
        console = Console(markup=False, emoji=False)  # names are texts
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """A line of its own."""
        if self._live:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def began(self, what: str) -> None:
        """A child was started."""
        self.running[what] = monotonic()

    def is_over(self, what: str) -> None:
        """A child has ended."""
        self.running.pop(what, None)

    def ended(self, row: RunRow) -> None:
        """Say what came of a run, and how the study stands."""
        score = row.status if row.score is None else self.metric.shown(row.score)
        collapsed = " (collapsed)" if row.status == "collapsed" else ""
        took = "" if row.seconds is None else f" in {duration(row.seconds)}"
        best = self.best(row.method)
        so_far = f", {row.method}'s best so far {best}" if best and row.stage != FINAL else ""
        done = sum(one.status != PENDING for one in self.rows)
        self.say(
            f"{row.folder}: {self.metric.name} {score}{collapsed}{took}{so_far}; {done} of "
            f"{self.planned()} runs, {self.left()}"
        )

    def best(self, method: str) -> str:
        """A method's best score on val so far; "" without one."""
        ranked = ranking([row for row in self.rows if row.stage != FINAL], method, self.metric.name)
        return self.metric.shown(ranked[0].score) if ranked and ranked[0].score is not None else ""

    def planned(self) -> int:
        """All training runs of the study."""
        return sum(self.plan["runs"][stage] for stage in _STAGES)

    def left(self) -> str:
        """How long it still takes, in words."""
        seconds = self.left_seconds()
        now = datetime.now()
        until = now + timedelta(seconds=seconds)
        when = f"{until:%H:%M}" if until.date() == now.date() else f"{until:%a %d %b %H:%M}"
        return f"about {duration(max(1.0, seconds))} left, until {when}"

    def left_seconds(self) -> float:
        """From the runs that have ended, before that from the plan."""
        took: dict[str, list[float]] = defaultdict(list)
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for row in self.rows:
            if row.status != PENDING:
                counts[row.method, row.stage] += 1
                if row.seconds is not None:
                    took[row.method].append(row.seconds + _OVERHEAD)
        methods, total = self.plan["methods"], 0.0
        for name, method in methods.items():
            one = sum(took[name]) / len(took[name]) if took[name] else run_seconds(method)
            for stage in _STAGES:
                runs = self.plan["runs"][stage] / len(methods)
                total += one * max(0.0, runs - counts[name, stage])
        slowest = max(methods.values(), key=run_seconds)
        for purpose in ("method", "floor", "oracle", CEILING):
            readings = self.plan["runs"].get(purpose, 0) - self.readings.get(purpose, 0)
            one = 1.5 * run_seconds(slowest) if purpose == CEILING else reading_seconds(slowest)
            total += one * max(0, readings)
        return total / self.slots

    def show(self) -> None:
        """Draw the live table again."""
        if self._live:
            self._live.update(self._picture(), refresh=True)

    def _picture(self) -> Group:
        table = RichTable(title=f"study {self.plan['name']}", title_justify="left")
        for column in ("method", *_STAGES.values(), f"best {self.metric.name}"):
            table.add_column(column, justify="left" if column == "method" else "right")
        for name in self.plan["methods"]:
            cells = [self._count(name, stage) for stage in _STAGES]
            table.add_row(name, *cells, self.best(name))
        now = monotonic()
        running = [f"  {what}, for {duration(now - since)}" for what, since in self.running.items()]
        read = sum(self.readings.values())
        return Group(table, f"test read {read} times; {self.left()}; now:", *running)

    def _count(self, method: str, stage: str) -> str:
        rows = [row for row in self.rows if row.method == method and row.stage == stage]
        planned = round(self.plan["runs"][stage] / len(self.plan["methods"]))
        return f"{sum(row.status != PENDING for row in rows)} of {planned}"

    def stands(self, rows: Iterable[RunRow]) -> None:
        """What is known of all runs now."""
        self.rows = list(rows)
