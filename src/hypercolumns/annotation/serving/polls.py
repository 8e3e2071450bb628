"""Requests for a prediction on a screen, which wait until there is one."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypercolumns.annotation.serving.screen import Screen
from hypercolumns.errors import HypercolumnsError


class Shown(NamedTuple):
    """The prediction on a screen.

    Attributes:
        screen: the screen.
        version: the version of the model.
        labels: (h, w) uint8.
        margins: (h, w) uint8, 255 for sure.
    """

    screen: Screen
    version: int
    labels: NDArray[np.uint8]
    margins: NDArray[np.uint8]


@dataclass(eq=False)
class Poll:
    """A request for the prediction on a screen.

    Attributes:
        screen: the screen.
        after: the version of the model that the page has; a higher one is awaited.
        future: the answer, once it is there.
    """

    screen: Screen
    after: int
    future: "Future[Shown]" = field(default_factory=Future)


class Polls:
    """The requests that wait. It is safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[Poll] = []

    def add(self, poll: Poll) -> None:
        """Add a request."""
        with self._lock:
            self._waiting.append(poll)

    def due(self, version: int, is_prepared: Callable[[int], bool]) -> list[Poll]:
        """Return the requests that something can be done for, and forget those that nobody waits for any more.

        Args:
            version: the version of the model; 0: there is none.
            is_prepared: whether the maps of an image are there; before the first version, they can be computed.

        Returns:
            The requests, the latest one last.
        """
        with self._lock:
            self._waiting = [poll for poll in self._waiting if not poll.future.cancelled()]
            return [
                poll
                for poll in self._waiting
                if version > poll.after and (version or not is_prepared(poll.screen.image))
            ]

    def refuse_all(self, error: HypercolumnsError) -> None:
        """Answer all requests by an error."""
        self.answer(self._waiting, error)

    def answer(self, polls: Sequence[Poll], answer: Shown | HypercolumnsError) -> None:
        """Answer requests, by a prediction or an error."""
        with self._lock:
            self._waiting = [poll for poll in self._waiting if poll not in polls]
        for poll in polls:
            if poll.future.set_running_or_notify_cancel():
                if isinstance(answer, HypercolumnsError):
                    poll.future.set_exception(answer)
                else:
                    poll.future.set_result(answer)
