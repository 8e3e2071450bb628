"""The child processes that a command started, one for each further device of this machine.

This module is apart from `distributed`, because the command line can't wait for the import of Lightning.
"""

import atexit
import subprocess
from collections.abc import Sequence

EXIT_TIMEOUT = 5  # seconds that a child process may take to exit before it is killed
_watched: list[list[subprocess.Popen[bytes]]] = []


def adopt(watched: list[subprocess.Popen[bytes]]) -> None:
    """End child processes when this process ends.

    Args:
        watched: the child processes, as the list that Lightning watches, see `end_watch`.
    """
    atexit.register(end_processes, tuple(watched))
    _watched.append(watched)


def end_watch() -> None:
    """Let child processes exit with any code from now on.

    Until then, Lightning looks at the child processes every 5 seconds. If one has exited with an error or by a signal,
    Lightning kills this process (`_ChildProcessObserver` in Lightning 2.6). Otherwise, this process could wait for the
    child forever. When the work of a command has ended, with an error or by a stop signal, nothing waits any more. The
    command then has to end with its own exit code, even if its child processes exit a moment earlier.
    """
    for processes in _watched:
        processes.clear()


def end_processes(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait at most 5 seconds for each child process to exit, and kill the child if it has not exited by then.

    A child could otherwise wait for this process forever.
    """
    for process in processes:
        try:
            process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
