"""The child processes that a command started, one for each further device of this machine."""

import subprocess

_watched: list[list[subprocess.Popen[bytes]]] = []


def watch(processes: list[subprocess.Popen[bytes]]) -> None:
    """Remember the list of child processes that Lightning watches."""
    _watched.append(processes)


def end_watch() -> None:
    """Let child processes exit with any code from now on.

    Until then, Lightning looks at the child processes every 5 seconds. If one has exited with an error or by a signal,
    Lightning kills this process (`_ChildProcessObserver` in Lightning 2.6). This prevents that a rank waits forever for
    another rank. But a command that ends by an error or a stop signal must clean up and give its own exit code, even if
    its child processes exit a moment before it.
    """
    for processes in _watched:
        processes.clear()
