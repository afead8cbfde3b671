"""The loop of a study: starts what is ready, takes what has ended, stops cleanly. No torch."""

from __future__ import annotations

import signal
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from ssl_zoo.stopping import Stopped
from ssl_zoo.study.pool import Pool, Work
from ssl_zoo.study.progress import Progress
from ssl_zoo.training.machine import Stop

_LOOK = 0.5  # seconds between two looks


@dataclass(frozen=True)
class Task:
    """A child that is ready to be started.

    Attributes:
        key: What identifies it; it is not started twice at a time.
        name: For a person.
        begin: Prepares it, and says what to start.
        end: Is told its exit code, and takes what came of it.
    """

    key: Hashable
    name: str
    begin: Callable[[], Work]
    end: Callable[[int], None]


class Engine:
    """Works off tasks, as many at once as the pool takes.

    Args:
        pool: Where children run.
        stop: Whether a signal came.
        progress: For a person.
        keep: Called at each look, to write what the study has spent.
    """

    def __init__(
        self, pool: Pool, stop: Stop, progress: Progress, keep: Callable[[], None]
    ) -> None:
        self.pool, self.stop, self.progress, self.keep = pool, stop, progress, keep

    def work_off(self, ready: Callable[[], Iterable[Task]]) -> None:
        """Until nothing is ready and nothing runs.

        Args:
            ready: All tasks that could be started now; asked again whenever one has ended.

        Raises:
            Stopped: If a signal came; what ran has ended by then.
        """
        running: dict[Future[int], Task] = {}
        try:
            self._loop(running, ready)
        except BaseException:
            self.stop.on_signal(signal.SIGTERM, None)  # what still runs saves, and ends
            wait(running)
            raise
        if self.stop.signum is not None:
            raise Stopped(self.stop.signum)

    def _loop(self, running: dict[Future[int], Task], ready: Callable[[], Iterable[Task]]) -> None:
        said = False
        while True:
            if self.stop.signum is None:
                self._fill(running, ready)
            elif running and not said:
                said = True
                self.progress.say("stopping: what runs is saved first; repeat to stop at once")
            if not running:
                return
            done, _ = wait(running, timeout=_LOOK, return_when=FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                self.progress.is_over(task.name)
                task.end(future.result())
            self.progress.show()
            self.keep()

    def _fill(self, running: dict[Future[int], Task], ready: Callable[[], Iterable[Task]]) -> None:
        if len(running) >= self.pool.slots:
            return
        under_way = {task.key for task in running.values()}
        for task in ready():
            if len(running) >= self.pool.slots:
                break
            if task.key not in under_way:
                running[self.pool.submit(task.begin())] = task
                self.progress.began(task.name)
