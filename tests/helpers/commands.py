"""Killing a command at a random moment, and comparing the files that it leaves."""

import hashlib
import time


def wait_for(folder, pattern, process):
    """Wait until the folder has a file that matches the pattern, or the process has ended."""
    while process.poll() is None and not any(folder.glob(pattern)):
        time.sleep(0.01)


def seconds_of_writing(folder):
    """Return the seconds between the first and the last modification of the files in a folder."""
    times = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return max(times) - min(times)


def kill_while_writing(folder, pattern, process, moment, number):
    """Send a signal to a process `moment` seconds after its first file, and return the exit code.

    Args:
        folder: where the process writes.
        pattern: glob pattern of the files in the folder.
        process: the running process.
        moment: seconds between the first file and the signal.
        number: the signal.
    """
    wait_for(folder, pattern, process)
    time.sleep(moment)
    process.send_signal(number)
    return process.wait()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
