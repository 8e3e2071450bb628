"""Handle the signals that ask a program to stop, from Ctrl-C, the end of a session or a cluster's scheduler."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

# Windows has no SIGUSR1
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


def handle_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Install `handler` for all stop signals; do nothing outside the main thread, where Python forbids it."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, handler)


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit at once on a signal, before any work has started; an import could swallow a KeyboardInterrupt."""
    os.write(2, b"interrupted before any work was started\n")
    os._exit(128 + number)


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt with the signal's number on a signal, as Python does on Ctrl-C."""
    raise KeyboardInterrupt(number)


def ignore_signals_in_worker(worker: int) -> None:
    """Make a DataLoader worker ignore stop signals: the parent handles them, and needs its workers to finish a step.

    The worker leaves the process group, so signals to the group do not reach it. It ignores all stop signals except
    SIGTERM, with which the parent ends its workers. If the parent is killed, torch ends the worker.
    """
    if os.name == "posix":
        os.setsid()
    for number in STOPPING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
