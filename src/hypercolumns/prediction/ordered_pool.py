"""Apply a function to items in threads, with results in the order of the items and a limit on pending results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedPool(Generic[Item, Result]):
    """A pool of threads that returns results in the order of their items. Use it as a context manager.

    A result is pending from the submission of its item until `submit` or `drain` returns the result. At its end, the
    `with` block waits until the function has finished for all submitted items, even after an error in the block.

    Args:
        function: called with each item, in a thread.
        workers: the number of threads, and the maximum number of pending results. 0: no threads; `submit` itself calls
            the function.
    """

    def __init__(self, function: Callable[[Item], Result], workers: int) -> None:
        self._function, self._workers = function, workers
        self._executor = ThreadPoolExecutor(workers) if workers else None
        self._waiting: deque[Future[Result]] = deque()

    def __enter__(self) -> "OrderedPool[Item, Result]":
        """Return the pool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until the function has finished for all submitted items, even after an error in the `with` block."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    def submit(self, item: Item) -> list[Result]:
        """Submit an item to the threads. If more than `workers` results are then pending, wait for the oldest result.

        Returns:
            A list with the oldest result if `submit` has waited for it; otherwise, an empty list. With 0 workers, a
            list with the result of this item.
        """
        if self._executor is None:
            return [self._function(item)]
        self._waiting.append(self._executor.submit(self._function, item))
        return [self._waiting.popleft().result()] if len(self._waiting) > self._workers else []

    def drain(self) -> Iterator[Result]:
        """Wait for all pending results, and yield them in the order of their items."""
        while self._waiting:
            yield self._waiting.popleft().result()


def prefetch_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Apply a function to each item, with threads that compute results before the caller requests them.

    Args:
        function: called with each item, in a thread.
        items: the arguments of the function. The threads are at most `workers` items ahead of the yielded result.
        workers: the number of threads. 0: no threads; the function is called when its result is requested.

    Yields:
        The results, in the order of the items.
    """
    with OrderedPool(function, workers) as pool:
        for item in items:
            yield from pool.submit(item)
        yield from pool.drain()
