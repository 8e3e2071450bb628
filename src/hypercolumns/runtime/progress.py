"""Progress of a loop: a bar in a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

console = Console(highlight=False, soft_wrap=True)


class ProgressBar:
    """The progress of some steps, from `with` to its end; `total` of them, if that is known.

    In a terminal it shows the time taken and the time left; elsewhere it prints a line now and then, at least `every`
    seconds apart and rarer with time, and one at the end unless `summary` is False.
    """

    def __init__(
        self, description: str, total: int | None = None, done: int = 0, every: float = 10.0, summary: bool = True
    ) -> None:
        """The bar of steps of which `done` were done before."""
        self.description, self.total, self.done = description, total, done
        self.every, self.summary = every, summary
        self._bar: Progress | None = None

    def __enter__(self) -> "ProgressBar":
        """Begin."""
        self._start = self._last = time.monotonic()
        if console.is_terminal:
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            columns = (TextColumn("{task.description}", markup=False), BarColumn(24), MofNCompleteColumn(), *times)
            self._bar = Progress(*columns, TextColumn("{task.fields[note]}", markup=False), console=console)
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, completed=self.done, note="")
        return self

    def advance(self, note: str = "") -> None:
        """One step more is done; `note` says how it goes."""
        self.done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note)
        elif now - self._last > max(self.every, (now - self._start) / 10):
            total = "?" if self.total is None else self.total
            self.say(f"{self.description}: {self.done}/{total}, {now - self._start:.0f} s{note and '  ' + note}")

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        console.print(line, markup=False)
        self._last = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        if self._bar is not None:
            self._bar.stop()
        elif self.summary and error is None:
            self.say(f"{self.description}: {self.done} done in {time.monotonic() - self._start:.1f} s")


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """The items, one by one, while the progress is shown; `total` of them if they have no length."""
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    with ProgressBar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()
