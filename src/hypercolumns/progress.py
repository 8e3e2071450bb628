"""Progress of a loop: a bar in a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0
console = Console(highlight=False, soft_wrap=True)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """The items, one by one, while the progress is shown; `total` of them if they have no length."""
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    return _bar(items, description, total) if console.is_terminal else _lines(items, description, total)


def _bar(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        yield from progress.track(items, total=total, description=description)


def _lines(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    start = last = time.monotonic()
    count = 0
    for item in items:
        yield item
        count += 1
        now = time.monotonic()
        if now - last > SECONDS_BETWEEN_LINES:
            console.print(f"{description}: {count}/{total if total is not None else '?'}, {now - start:.0f} s")
            last = now
    console.print(f"{description}: {count} done in {time.monotonic() - start:.1f} s")
