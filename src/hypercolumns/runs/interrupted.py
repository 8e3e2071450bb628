"""Find what killed commands left behind in the folder `runs`: temporary files, locks and half-removed folders.

Only the folders that this program makes are searched, and only for names that it gives in these folders, because the
user may keep other files in `runs`, too.
"""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from hypercolumns.io.store_files import FINGERPRINT
from hypercolumns.runs import inventory
from hypercolumns.runs.file_names import CHECKPOINTS, RUN_FILE, SWEEP_FILE
from hypercolumns.runs.inventory import last_change, lock_of

GRACE_SECONDS = 3600.0  # a running command may still need a temporary file or an unlocked lock file that is younger
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}d?\.tmp|\.latest\.\d+\.tmp|\.embedding\.tmp")
KEY = re.compile(r"[0-9a-f]{10}")  # the name of the folder of a run or a store
ASIDE = re.compile(r"\.([0-9a-f]{10})\.old")
# The names of lock files, by the kind of the folder in which the program makes them.
GROUP_LOCK = re.compile(r"\.[0-9a-f]{10}\.lock")
STORE_LOCK = re.compile(r"\.\w+-\d{5}\.lock|\.embedding\.lock")
SWEEP_LOCK = re.compile(r"\d+\.lock|study\.lock")
NO_LOCK = re.compile(r"(?!)")

Found = tuple[Path, str, tuple[Path, ...]]  # a path, why nothing needs it, and the locks that must be free


def find_interrupted(runs: Path) -> Iterator[Found]:
    """Yield what killed commands left behind: a path, why nothing needs it, and the locks that must be free."""
    for group in filter(lambda path: is_inside(path, runs), inventory.groups(runs)):
        yield from _of_group(group)
    for folder in (*runs.glob("*/*/events/*-*"), *runs.glob("comparisons/*")):
        if KEY.fullmatch(folder.name.rpartition("-")[2]) and is_inside(folder, runs):
            yield from _below(folder, NO_LOCK)
    for data in runs.glob("*/validate"):
        if is_inside(data, runs):
            yield from _in_folder(data, NO_LOCK)
    sweeps = runs / inventory.SWEEPS
    for folder in sweeps.glob("*"):
        if is_inside(folder, runs) and _has(folder, SWEEP_FILE, f".{SWEEP_FILE}.*.tmp"):
            yield from _below(folder, SWEEP_LOCK)
    if is_inside(sweeps, runs):
        for lock in sweeps.glob(".*.lock"):
            yield from _of_file(lock, re.compile(r"\..+\.lock"))


def is_inside(path: Path, runs: Path) -> bool:
    """Whether no folder between `runs` and a path is a link, nor the path itself."""
    below = path.relative_to(runs).parts
    return not any(runs.joinpath(*below[: depth + 1]).is_symlink() for depth in range(len(below)))


def idle_seconds(path: Path) -> float:
    """Return the time since a file, or the newest file in a folder, was changed."""
    return time.time() - last_change(path)


def _of_group(group: Path) -> Iterator[Found]:
    """Yield what lies beside the runs or stores of a group and in them. Folders of others are left out."""
    own = [path for path in group.iterdir() if _is_folder(path) and (KEY.fullmatch(path.name) or _is_marked(path))]
    aside = [path for path in group.iterdir() if _is_folder(path) and ASIDE.fullmatch(path.name)]
    for path in aside:
        lock = group / f"{path.name.removesuffix('.old')}.lock"
        yield path, "an overwritten or cleaned folder, whose removal was interrupted", (lock,)
    if own or aside or any(GROUP_LOCK.fullmatch(path.name) for path in group.iterdir()):
        yield from _in_folder(group, GROUP_LOCK)
    for folder in own:
        yield from _below(folder, STORE_LOCK if group.name == inventory.SAMPLES else NO_LOCK)


def _below(folder: Path, lock: re.Pattern[str]) -> Iterator[Found]:
    for here, folders, _ in os.walk(folder):
        yield from _in_folder(Path(here), lock)
        folders[:] = [name for name in folders if not TEMPORARY.fullmatch(name)]


def _in_folder(folder: Path, lock: re.Pattern[str]) -> Iterator[Found]:
    for path in folder.iterdir():
        yield from _of_file(path, lock)


def _of_file(path: Path, lock: re.Pattern[str]) -> Iterator[Found]:
    """Yield a path if it is a temporary file, a lock or the checkpoint of a killed command."""
    name, folder = path.name, path.parent
    if TEMPORARY.fullmatch(name):
        if idle_seconds(path) > GRACE_SECONDS:
            yield path, "temporary file of a command that was killed", _locks_of(path)
    elif lock.fullmatch(name):
        if path.is_file() and inventory.total_bytes(path) == 0 and idle_seconds(path) > GRACE_SECONDS:
            yield path, "lock that no command holds", (path,)
    elif folder.name == CHECKPOINTS and name in ("last.damaged", "previous.damaged"):
        yield path, "damaged checkpoint that was set aside", (lock_of(folder.parent),)
    elif folder.name == CHECKPOINTS and name == "new.ckpt":
        yield path, "checkpoint of a command that was killed", (lock_of(folder.parent),)


def _locks_of(temporary: Path) -> tuple[Path, ...]:
    """Return the locks under which a temporary file may be written: that of its run, and those beside it."""
    folder = temporary.parent.parent if temporary.parent.name == CHECKPOINTS else temporary.parent
    of_run = [lock_of(folder)] if _has(folder, RUN_FILE, SWEEP_FILE) else []
    return *of_run, *folder.glob("*.lock")


def _is_marked(folder: Path) -> bool:
    return _has(folder, RUN_FILE, FINGERPRINT)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _has(folder: Path, *patterns: str) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))
