"""Progress of a loop: a bar in a terminal, occasional lines elsewhere."""

import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

console = Console(highlight=False, soft_wrap=True)


class ProgressBar:
    """Show the progress of a loop inside a `with` block.

    A terminal shows a bar with the elapsed and the remaining time. Elsewhere, lines are printed: at least `every`
    seconds apart, less often as time goes by, and once at the end.

    Args:
        description: the text before the bar.
        total: the number of steps; None if unknown.
        done: the number of steps done before, for a resumed loop.
        every: the minimum number of seconds between two lines.
        summary: whether to print a line at the end.
    """

    def __init__(
        self, description: str, total: int | None = None, done: int = 0, every: float = 10.0, summary: bool = True
    ) -> None:
        self.description, self.total, self.done = description, total, done
        self.every, self.summary = every, summary
        self._bar: Progress | None = None

    def __enter__(self) -> "ProgressBar":
        """Start the clock, and the bar in a terminal."""
        self._start = self._last = time.monotonic()
        if console.is_terminal:
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            columns = (TextColumn("{task.description}", markup=False), BarColumn(24), MofNCompleteColumn(), *times)
            self._bar = Progress(*columns, TextColumn("{task.fields[note]}", markup=False), console=console)
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, completed=self.done, note="")
        return self

    def advance(self, note: str = "") -> None:
        """Count one step as done; `note` is shown after the progress."""
        self.done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note)
        elif now - self._last > max(self.every, (now - self._start) / 10):
            total = "?" if self.total is None else self.total
            self.say(f"{self.description}: {self.done}/{total}, {now - self._start:.0f} s{note and '  ' + note}")

    def say(self, line: str) -> None:
        """Print a line, above the bar in a terminal."""
        console.print(line, markup=False)
        self._last = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar, or print the last line if no error was raised."""
        if self._bar is not None:
            self._bar.stop()
        elif self.summary and error is None:
            self.say(f"{self.description}: {self.done} done in {time.monotonic() - self._start:.1f} s")


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Iterate over items and show the progress.

    Args:
        items: the items.
        description: the text before the bar.
        total: the number of items; None for `len(items)` if they have a length, unknown otherwise.

    Yields:
        The items.
    """
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    with ProgressBar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()
