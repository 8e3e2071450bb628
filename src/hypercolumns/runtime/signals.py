"""Handle the stop signals: SIGINT (Ctrl-C), SIGTERM (the end of a session) and SIGUSR1 (the scheduler of a cluster)."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

# Windows has no SIGUSR1
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


def handle_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Call `handler` on each stop signal from now on. Outside the main thread, do nothing: Python forbids it there."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, handler)


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit at once on a signal. This is the handler during the imports, which could swallow a KeyboardInterrupt."""
    os.write(2, b"interrupted before any work was started\n")
    os._exit(128 + number)


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """Raise a KeyboardInterrupt on a signal. The argument of the KeyboardInterrupt is the number of the signal."""
    raise KeyboardInterrupt(number)


def ignore_signals_in_worker(worker: int) -> None:
    """Protect a DataLoader worker from stop signals: its parent process needs it to finish the current step.

    The worker leaves the parent's process group (not on Windows), so signals to the group do not reach it. It ignores
    all stop signals except SIGTERM, which the parent sends to end its workers. If the parent is killed, torch ends the
    worker.
    """
    if os.name == "posix":
        os.setsid()
    for number in STOPPING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
