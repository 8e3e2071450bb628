"""The start and the end of a command of `train.py` or `predict.py`: arguments, signals, error lines, exit codes."""

import functools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from hypercolumns.cli.messages import DISK_FULL, error_line
from hypercolumns.cli.paths import is_sweep, move_flags, quote_paths
from hypercolumns.errors import BadDataError, HypercolumnsError, HypercolumnsWarning
from hypercolumns.runtime import imports, processes, signals
from hypercolumns.settings.invocation import Invocation, invoked

Task = TypeVar("Task", bound=Callable[..., Any])

# Stages that write nothing before they end.
NOT_RESUMABLE = ("average", "clean", "compare", "evaluate", "rank_taps", "status", "validate", "verify")


def run(main: Callable[[], object]) -> None:
    """Run a Hydra application with the arguments of the command line.

    At an error that the user can fix, the program prints one line and exits, see `exit_on_user_error`. A warning of
    this package is one line, too. At a stop signal, the program prints one line and exits with the code 128 + the
    number of the signal. A bug keeps its traceback.
    """
    try:
        sys.argv[1:] = move_flags(quote_paths(sys.argv[1:]))
    except HypercolumnsError as error:
        exit_on_user_error(error)
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        # Each new image size adds entries to these caches. torch's limit of 1024 entries would allow up to 1 GB.
        os.environ.setdefault(cache, "256")
    signals.handle_stop_signals(signals.exit_on_signal)
    threading.excepthook = _print_thread_error
    warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise, Hydra prints errors and exits instead of raising them
    imports.pause_collections()  # the task resumes them when its modules are imported
    try:
        main()
    except Exception as error:
        exit_on_user_error(error)
        raise
    except KeyboardInterrupt as interruption:
        again = " without overwrite" if "overwrite=true" in map(str.lower, sys.argv) else ""
        starts_over = not is_sweep(sys.argv) and any(f"stage={stage}" in sys.argv for stage in NOT_RESUMABLE)
        outcome = "starts over" if starts_over else "resumes from here"
        print(f"interrupted; the same command{again} {outcome}", file=sys.stderr)
        number = interruption.args[0] if interruption.args else signal.SIGINT
        sys.exit(128 + number)  # the exit code by which shells report a signal
    finally:
        processes.end_watch()
        imports.end_collections()


def command(task: Task) -> Task:
    """Decorate a Hydra task: tell the stages how they were invoked, and print errors that the user can fix.

    At such an error, the program exits before Hydra prints its own text about the error. In a job of a sweep, the error
    is raised instead, and the sweep handles it.
    """

    @functools.wraps(task)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        hydra = HydraConfig.get()
        try:
            with invoked(Invocation(hydra)):
                return task(*args, **kwargs)
        except Exception as error:
            if hydra.mode == RunMode.RUN:
                exit_on_user_error(error)
            raise

    return cast(Task, wrapped)


def exit_on_user_error(error: Exception) -> None:
    """If the user can fix an error, print the error as one line and exit. If the error is a bug, return.

    The exit code is 1 for a `BadDataError`, and 2 for any other error that the user can fix.
    """
    line = error_line(error)
    if line is not None:
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1 if isinstance(error, BadDataError) else 2)


def _show_warning(
    show: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any, **more: Any
) -> None:
    """Print a warning that is meant for the user as one line, without a place in the code; show others by `show`."""
    if not issubclass(category, HypercolumnsWarning):
        return show(message, category, *place, **more)
    from hypercolumns.runtime.progress import console  # imported here, because it would slow down every start

    console.print(f"warning: {message}", markup=False)


def _print_thread_error(failed: threading.ExceptHookArgs) -> None:
    """Print the traceback of an error in a thread, unless the error is a full disk.

    TensorBoard writes its files in a thread, and raises the error of a full disk again in the main thread.
    """
    if not (isinstance(failed.exc_value, OSError) and failed.exc_value.errno in DISK_FULL):
        threading.__excepthook__(failed)
