"""Work in threads whose results come in order, and never more than a few ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedPool(Generic[Item, Result]):
    """Apply a function to items in threads, from `with` to its end; results come in the order of the items.

    At most `workers` items are worked at ahead of the result that is given out. With 0 workers there are no threads:
    each item is worked at when it is submitted.
    """

    def __init__(self, function: Callable[[Item], Result], workers: int) -> None:
        self._function, self._workers = function, workers
        self._executor = ThreadPoolExecutor(workers) if workers else None
        self._waiting: deque[Future[Result]] = deque()

    def __enter__(self) -> "OrderedPool[Item, Result]":
        """Give the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was submitted, after an error too."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    def submit(self, item: Item) -> list[Result]:
        """Begin with an item; returns the oldest result if more than `workers` are waiting, else none."""
        if self._executor is None:
            return [self._function(item)]
        self._waiting.append(self._executor.submit(self._function, item))
        return [self._waiting.popleft().result()] if len(self._waiting) > self._workers else []

    def drain(self) -> Iterator[Result]:
        """Yield the results that are left."""
        while self._waiting:
            yield self._waiting.popleft().result()


def prefetch_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield the function of each item, in order, computed ahead in threads.

    Args:
        function: called in a thread.
        items: taken at most `workers` ahead of the results.
        workers: the number of threads; with 0 the function is called as results are asked for.

    Yields:
        The results.
    """
    with OrderedPool(function, workers) as pool:
        for item in items:
            yield from pool.submit(item)
        yield from pool.drain()
