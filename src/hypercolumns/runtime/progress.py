"""Show the progress of a loop: a bar in a terminal, a changing line in a notebook, occasional lines elsewhere."""

import importlib
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

    In a terminal, a bar shows the steps, the elapsed time and the remaining time. In a notebook, one line shows the
    steps and the elapsed time, and changes once a second. Elsewhere, a line is printed now and then: the time between
    two lines is at least `every` seconds, and at least a tenth of the elapsed time.

    Args:
        description: the text before the progress.
        total: the number of steps, including `done`; None if it is unknown.
        done: in a loop that resumes, the number of steps that an earlier command has done.
        every: the minimum time between two lines, in seconds.
        summary: whether to print a last line when the loop is done. In a terminal, this line is never printed.
    """

    def __init__(
        self, description: str, total: int | None = None, done: int = 0, every: float = 10.0, summary: bool = True
    ) -> None:
        self.description, self.total, self.done = description, total, done
        self.every, self.summary = every, summary
        self._bar: Progress | None = None
        self._line: _NotebookLine | None = None

    def __enter__(self) -> "ProgressBar":
        """Start the clock and, in a terminal or a notebook, the bar or the line."""
        self._start = self._last = time.monotonic()
        if console.is_jupyter:
            self._line = _NotebookLine(self._state(self._start, ""))
        elif console.is_terminal:
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            columns = (TextColumn("{task.description}", markup=False), BarColumn(24), MofNCompleteColumn(), *times)
            self._bar = Progress(*columns, TextColumn("{task.fields[note]}", markup=False), console=console)
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, completed=self.done, note="")
        return self

    def advance(self, note: str = "") -> None:
        """Count one more step as done, and show the progress.

        In a terminal or a notebook, the bar or the line changes. Elsewhere, a line is printed if enough time has passed
        since the last line. `note` is a text to show after the progress.
        """
        self.done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note)
        elif self._line is not None:
            if now - self._last > 1:
                self._line.change(self._state(now, note))
                self._last = now
        elif now - self._last > max(self.every, (now - self._start) / 10):
            self.say(self._state(now, note))

    def _state(self, now: float, note: str) -> str:
        total = "?" if self.total is None else self.total
        return f"{self.description}: {self.done}/{total}, {now - self._start:.0f} s{note and '  ' + note}"

    def say(self, line: str) -> None:
        """Print a line. In a terminal, the line appears above the bar."""
        console.print(line, markup=False)
        self._last = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar in a terminal. Elsewhere, print the last line if `summary` is true and no error was raised."""
        now = time.monotonic()
        done = (
            f"{self.description}: {self.done} done in {now - self._start:.1f} s" if self.summary and not error else ""
        )
        if self._bar is not None:
            self._bar.stop()
        elif self._line is not None:
            self._line.change(done or self._state(now, ""))
        elif done:
            self.say(done)


class _NotebookLine:
    """A line in the output of a notebook's cell, whose text can be changed."""

    def __init__(self, text: str) -> None:
        display = importlib.import_module("IPython.display").display  # exists wherever `console.is_jupyter` is true
        self._handle = display({"text/plain": text}, raw=True, display_id=True)

    def change(self, text: str) -> None:
        """Replace the text of the line."""
        self._handle.update({"text/plain": text}, raw=True)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield items, and show how many of them have been processed.

    Args:
        items: the items.
        description: the text before the progress.
        total: the number of items. None: `len(items)`, or unknown if `items` has no length.

    Yields:
        The items.
    """
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    with ProgressBar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()
