"""The signals that ask a program to stop: Ctrl-C, the end of a session, and those of a cluster's queue."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)  # Windows lacks the last one


def handle_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """From now on these signals are for `handler`; but where they don't arrive, in other threads, nothing changes."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, handler)


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Handle a signal while nothing is begun: a library that is being imported may swallow KeyboardInterrupt."""
    os.write(2, b"interrupted before anything was begun\n")
    os._exit(128 + number)


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal as Python handles Ctrl-C: by KeyboardInterrupt, which here holds the number of the signal."""
    raise KeyboardInterrupt(number)


def ignore_signals_in_worker(worker: int) -> None:
    """Start a worker of a DataLoader: what a signal means the parent decides, and a step needs its workers to end.

    So signals to the whole group don't reach a worker, and of those to all processes SIGTERM alone, by which the parent
    ends it. If the parent is killed, torch sees to it that the worker ends.
    """
    if os.name == "posix":
        os.setsid()
    for number in STOPPING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
