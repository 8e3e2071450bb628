"""What other threads ask of the worker: changes of labels to learn, tasks to do, and predictions to show."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Condition
from typing import Any, NamedTuple

from hypercolumns.annotation.labels.pixel_runs import Change
from hypercolumns.annotation.serving.polls import Poll, Polls
from hypercolumns.errors import HypercolumnsError

LabelChange = tuple[int, list[Change], int]  # the number of an image, the changes, and the width of the image


class Task(NamedTuple):
    """Something to do.

    Attributes:
        function: what to call.
        is_ready: whether it can be called already; the thread that calls it asks.
        future: the result, once it is there.
    """

    function: Callable[[], Any]
    is_ready: Callable[[], bool]
    future: "Future[Any]"

    def run(self) -> None:
        """Call the function, unless nobody waits for its result any more."""
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self.function())
            except Exception as error:
                self.future.set_exception(error)


class Inbox:
    """Changes, tasks and polls, which any thread may add, and one thread takes.

    Attributes:
        changes: the changes that are not learned yet, the oldest first.
        tasks: the tasks that are not done yet.
        polls: the requests for a prediction.
        ending: whether the thread that takes them shall end.
    """

    def __init__(self) -> None:
        self._wake = Condition()
        self.changes: deque[LabelChange] = deque()
        self.tasks: deque[Task] = deque()
        self.polls = Polls()
        self.ending = False
        self._refusal: HypercolumnsError | None = None  # once the thread has ended, for all that is asked

    # Called by any thread.

    def add_change(self, number: int, changes: Iterable[Change], width: int) -> None:
        """Add changes of labels.

        Args:
            number: the number of the image.
            changes: the pixels, and their labels.
            width: the width of the image in pixels.
        """
        with self._wake:
            self.changes.append((number, [*changes], width))
            self._wake.notify()

    def add_poll(self, poll: Poll) -> None:
        """Add a request for a prediction."""
        with self._wake:
            self.polls.add(poll)
            self._refuse_if_ended()
            self._wake.notify()

    def add_task(self, function: Callable[[], Any], is_ready: Callable[[], bool] = lambda: True) -> "Future[Any]":
        """Add a function to call once it is ready, and return its result, once it is there."""
        future: Future[Any] = Future()
        with self._wake:
            self.tasks.append(Task(function, is_ready, future))
            self._refuse_if_ended()
            self._wake.notify()
        return future

    def end(self) -> None:
        """Tell the thread to end."""
        with self._wake:
            self.ending = True
            self._wake.notify()

    # Called by the thread that takes them.

    def wait(self, is_due: Callable[[], object], seconds: float) -> None:
        """Wait until something is added, for some seconds at most; not at all if something is there or due."""
        with self._wake:
            if not (self.changes or self._ready_task() or self.ending or is_due()):
                self._wake.wait(seconds)

    def take_change(self, is_ready: Callable[[int], bool]) -> LabelChange | None:
        """Return the first change of an image that is ready; None if there is none."""
        with self._wake:
            for position, change in enumerate(self.changes):
                if is_ready(change[0]):
                    del self.changes[position]
                    return change
        return None

    def take_task(self) -> Task | None:
        """Return the first task that is ready, or that nobody waits for any more; None if there is none."""
        with self._wake:
            task = self._ready_task()
            if task is not None:
                self.tasks.remove(task)
        return task

    def _ready_task(self) -> Task | None:
        return next((task for task in self.tasks if task.future.cancelled() or task.is_ready()), None)

    def refuse_all(self, error: HypercolumnsError) -> None:
        """Answer all that waits by an error, now and later, because the thread has ended."""
        with self._wake:
            self._refusal = error
            self._refuse_if_ended()

    def _refuse_if_ended(self) -> None:
        if self._refusal is None:
            return
        self.polls.refuse_all(self._refusal)
        while self.tasks:
            future = self.tasks.popleft().future
            if future.set_running_or_notify_cancel():
                future.set_exception(self._refusal)
