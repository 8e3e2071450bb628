"""Handle the stop signals: those sent by Ctrl-C, at the end of a session, or by the scheduler of a cluster."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

# Windows has no SIGUSR1
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


def handle_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Install `handler` for all stop signals. Python allows this only in the main thread; elsewhere, do nothing."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, handler)


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit on a signal that arrives during the imports, which could swallow a KeyboardInterrupt."""
    os.write(2, b"interrupted before any work was started\n")
    os._exit(128 + number)


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt on a signal, with the number of the signal as its argument."""
    raise KeyboardInterrupt(number)


def ignore_signals_in_worker(worker: int) -> None:
    """Protect a DataLoader worker from stop signals, because its parent needs the worker to finish the current step.

    The worker leaves the parent's process group (not on Windows), so signals to the group do not reach it. It ignores
    all stop signals except SIGTERM, which the parent sends to end its workers. If the parent is killed, torch ends the
    worker.
    """
    if os.name == "posix":
        os.setsid()
    for number in STOPPING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
