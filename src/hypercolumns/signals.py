"""The signals that ask a program to stop: Ctrl-C, the end of a session, and those of a cluster's queue."""

import signal
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)  # Windows lacks the last one


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal as Python handles Ctrl-C: by KeyboardInterrupt, which here holds the number of the signal."""
    raise KeyboardInterrupt(number)


def leave_to_parent(worker: int) -> None:
    """Start a worker of a DataLoader: signals to the whole group reach it too, but the parent decides what they mean.

    All but SIGTERM, by which the parent ends it.
    """
    for number in STOPPING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
