"""What both entry points share: how they start, and how they end."""

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from hypercolumns.cli.messages import DISK_FULL, error_line
from hypercolumns.cli.paths import is_sweep, quote_paths, stable_sweep_name
from hypercolumns.errors import BadDataError
from hypercolumns.runtime import signals

Task = TypeVar("Task", bound=Callable[..., Any])

NOT_RESUMABLE = ("compare", "evaluate", "rank_taps", "validate", "verify")  # stages that keep nothing before their end


def run(main: Callable[[], object]) -> None:
    """Run a Hydra application on the command line's arguments.

    A fault that the user can mend ends in one line and exit code 2; a bug keeps its traceback.
    """
    sys.argv[1:] = stable_sweep_name(quote_paths(sys.argv[1:]))
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "256")  # of torch's 1024: each new size of image fills them, with up to 1 GB
    signals.handle_stop_signals(signals.exit_on_signal)
    threading.excepthook = _say_unless_handed_on
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors, where it would print them and exit
    try:
        main()
    except Exception as error:
        exit_on_user_error(error)
        raise
    except KeyboardInterrupt as interruption:
        again = " without overwrite" if "overwrite=true" in map(str.lower, sys.argv) else ""
        anew = not is_sweep(sys.argv) and any(f"stage={stage}" in sys.argv for stage in NOT_RESUMABLE)
        print(f"interrupted; the same command{again} {'starts anew' if anew else 'goes on from here'}", file=sys.stderr)
        number = interruption.args[0] if interruption.args else signal.SIGINT
        sys.exit(128 + number)  # as a shell says it


def exits_on_user_error(task: Task) -> Task:
    """Decorate what Hydra runs, so that a fault ends it before Hydra adds words of its own.

    The jobs of a sweep see to their faults themselves.
    """

    @functools.wraps(task)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return task(*args, **kwargs)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.RUN:
                exit_on_user_error(error)
            raise

    return cast(Task, wrapped)


def exit_on_user_error(error: Exception) -> None:
    """If the user can mend it, print what to do in one line and exit with code 2, or 1 if it was looked for."""
    line = error_line(error)
    if line is not None:
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1 if isinstance(error, BadDataError) else 2)


def _say_unless_handed_on(failed: threading.ExceptHookArgs) -> None:
    """Print a thread's traceback, unless the disk is full: TensorBoard's writer raises that in the main thread too."""
    if not (isinstance(failed.exc_value, OSError) and failed.exc_value.errno in DISK_FULL):
        threading.__excepthook__(failed)
