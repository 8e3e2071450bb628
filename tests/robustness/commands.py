"""Killing a command at a random moment, and comparing the files that it leaves."""

import hashlib
import time


def wait_for(folder, pattern, process):
    """Until a file of that pattern is in the folder, or the process has ended."""
    while process.poll() is None and not any(folder.glob(pattern)):
        time.sleep(0.01)


def seconds_of_writing(folder):
    """From the first file in a folder to the last one."""
    times = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return max(times) - min(times)


def kill_while_writing(folder, pattern, process, moment, number):
    """Send a signal so many seconds after the first file of that pattern; the exit code."""
    wait_for(folder, pattern, process)
    time.sleep(moment)
    process.send_signal(number)
    return process.wait()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
