"""Apply a function to items in threads: results in the order of the items, and a limited number of pending results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedPool(Generic[Item, Result]):
    """Thread pool that returns results in the order in which the items were submitted. Use it as a context manager.

    A result is pending from the submission of its item until `submit` or `drain` returns the result. Leaving the `with`
    block waits until the function has returned for all submitted items, even if the block raised an error.

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
        """Wait until the function has returned for all submitted items, even if the block raised an error."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    def submit(self, item: Item) -> list[Result]:
        """Submit an item to the threads. If more than `workers` results are then pending, wait for the oldest result.

        Returns:
            A list with the oldest pending result, if `submit` has waited for it; otherwise an empty list. With 0
            workers: a list with the result of this item.
        """
        if self._executor is None:
            return [self._function(item)]
        self._waiting.append(self._executor.submit(self._function, item))
        return [self._waiting.popleft().result()] if len(self._waiting) > self._workers else []

    def drain(self) -> Iterator[Result]:
        """Wait for the pending results, and yield each, in the order in which the items were submitted."""
        while self._waiting:
            yield self._waiting.popleft().result()


def prefetch_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Map a function over items, with threads that compute results before they are requested.

    Args:
        function: called with each item, in a thread.
        items: the inputs. When the result of an item is yielded, at most `workers` later items have been taken.
        workers: the number of threads. 0: no threads; the function is called when its result is requested.

    Yields:
        The results, in the order of the items.
    """
    with OrderedPool(function, workers) as pool:
        for item in items:
            yield from pool.submit(item)
        yield from pool.drain()
