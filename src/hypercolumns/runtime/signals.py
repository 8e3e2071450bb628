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
    """Exit at once on a signal.

    This is the handler while modules are imported, because an import could swallow a KeyboardInterrupt.
    """
    os.write(2, b"interrupted before any work was started\n")
    os._exit(128 + number)


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """Raise a KeyboardInterrupt on a signal. The argument of the KeyboardInterrupt is the number of the signal."""
    raise KeyboardInterrupt(number)


def ignore_signals_in_worker(worker: int) -> None:
    """Protect a DataLoader worker from stop signals.

    At a stop signal, the parent process first finishes the current step, and needs its workers until then. Except on
    Windows, the worker leaves the parent's process group, so signals to the group do not reach the worker. The worker
    ignores all stop signals except SIGTERM: with this signal, the parent ends its workers. If the parent is killed,
    torch ends the worker.
    """
    if os.name == "posix":
        os.setsid()
    for number in STOPPING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
