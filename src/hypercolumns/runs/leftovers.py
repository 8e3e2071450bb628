"""Find what nothing needs any more in the folder `runs`.

Only files whose names this program gives are found, and only below real folders: links are never followed. A folder
with other files in it stays.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypercolumns.io.files import is_locked, short_hash
from hypercolumns.runs import inventory
from hypercolumns.runs.file_names import CHECKPOINTS, RUN_STAGES
from hypercolumns.runs.interrupted import KEY, TEMPORARY, find_interrupted, idle_seconds, is_inside
from hypercolumns.runs.inventory import Entry, events_of, lock_of, total_bytes

CACHES = ("checks.json", "masks.json")  # saved checks of a data set, in <runs>/<data>/validate
# Names of all files in the folders of runs, stores, sweeps and event files, from that folder on.
WRITTEN = re.compile(
    r"(model\.safetensors|metrics\.(json|csv)|curves\.png|confusion\.(csv|png)|panels\.png|images\.npz|run\.json)"
    r"|(config\.yaml|environment\.json|changes\.patch|ranking\.(csv|json)|fitted|(best|last|previous|new)\.ckpt)"
    r"|((last|previous)\.damaged|(index|fingerprint|\w+-\d{5})\.json|\w+-\d{5}\.safetensors|\.\w+-\d{5}\.lock)"
    r"|(metadata\.tsv|tensors\.tsv|sprite\.png|projector_config\.pbtxt|events\.out\.tfevents\..+|hparams\.yaml)"
    r"|(sweep\.json|multirun\.yaml|study\.(db|db-journal|lock)|\d+\.(json|lock)|table\.(csv|md)|\.embedding\.lock)"
    r"|tensors|mlflow\.db(-journal|-wal|-shm)?|" + TEMPORARY.pattern
)
LOGGER_FOLDERS = ("mlflow_artifacts", "wandb")  # in a run's folder of event files
SAMPLE_ENTRIES = ("sampler", "seed", "model", "augmentation", "device", "threads")  # of the fingerprint of a store


@dataclass(frozen=True)
class Wanted:
    """What to find in addition to what no command can need.

    Attributes:
        checkpoints: whether to find the checkpoints of finished runs.
        stores: whether to find stores that no run reads and that a newer store replaced.
        caches: whether to find the saved checks of images and masks.
        unfinished_days: find what is unfinished and has not changed for this many days; None: find no unfinished work.
    """

    checkpoints: bool = False
    stores: bool = False
    caches: bool = False
    unfinished_days: float | None = None


@dataclass(frozen=True)
class Leftover:
    """A file or folder that nothing needs any more.

    Attributes:
        path: the file or the folder.
        reason: why nothing needs it or, for what was asked for, what is lost with it.
        locks: the lock files that must be free while it is deleted.
        bytes: its size.
        foreign: files in the folder that this program did not write; the folder then stays.
    """

    path: Path
    reason: str
    locks: tuple[Path, ...] = ()
    bytes: int = field(init=False)
    foreign: tuple[Path, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Measure the size, and look for files of others."""
        object.__setattr__(self, "bytes", total_bytes(self.path))
        object.__setattr__(self, "foreign", tuple(foreign_files(self.path)))


def find_leftovers(runs: Path, wanted: Wanted) -> list[Leftover]:
    """Return what nothing needs any more in the folder `runs`, sorted by path.

    What a process has locked is left out. If a folder is found, the files in it are not found once more.
    """
    found = [*(Leftover(*one) for one in find_interrupted(runs)), *_events_without_run(runs)]
    for group in inventory.groups(runs):
        if is_inside(group, runs):
            found += _of_group(group, wanted)
    if wanted.unfinished_days is not None:
        found += _idle_sweeps(runs, wanted.unfinished_days)
    if wanted.caches:
        reason = "saved checks of images and masks; the next command checks these files again"
        paths = (path for name in CACHES for path in runs.glob(f"*/validate/{name}"))
        found += [Leftover(path, reason) for path in paths if is_inside(path, runs)]
    free = {one.path: one for one in found if not any(map(is_locked, one.locks))}
    return [free[path] for path in sorted(free) if not any(parent in free for parent in path.parents)]


def foreign_files(path: Path) -> Iterator[Path]:
    """Yield the files in a folder that this program does not write, and all links. A file has none.

    The folders of MLflow and Weights & Biases in a run's folder of event files are theirs, with all their contents.
    """
    if path.is_dir() and not path.is_symlink():
        for folder, folders, names in os.walk(path):
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            if Path(folder) == path and path.parent.name == "events":
                folders[:] = [name for name in folders if name not in LOGGER_FOLDERS]
            for name in sorted([*links, *names]):
                if (Path(folder) / name).is_symlink() or not WRITTEN.fullmatch(name):
                    yield Path(folder) / name


def _events_without_run(runs: Path) -> Iterator[Leftover]:
    for folder in runs.glob("*/*/events/*"):
        stage, _, key = folder.name.rpartition("-")
        run = folder.parent.parent / stage / key
        of_run = stage in RUN_STAGES and KEY.fullmatch(key)
        if of_run and folder.is_dir() and is_inside(folder, runs) and not run.exists():
            yield Leftover(folder, "event files of a run that no longer exists", (lock_of(run),))


def _of_group(group: Path, wanted: Wanted) -> Iterator[Leftover]:
    listed = inventory.entries(group)
    is_store = group.name == inventory.SAMPLES
    if wanted.unfinished_days is not None:
        for entry in listed:
            if not entry.finished and entry.settings and idle_seconds(entry.folder) > wanted.unfinished_days * 86400:
                what, locks = ("store", _store_locks(entry.folder)) if is_store else ("run", (lock_of(entry.folder),))
                unchanged = _unchanged(wanted.unfinished_days)
                yield Leftover(entry.folder, f"unfinished {what}{unchanged}", locks)
                if not is_store and events_of(entry.folder).is_dir():
                    reason = f"event files of the unfinished run {entry.folder.name}{unchanged}"
                    yield Leftover(events_of(entry.folder), reason, locks)
    if is_store and wanted.stores:
        yield from _replaced_stores(group, listed)
    if not is_store and wanted.checkpoints:
        for entry in listed:
            if entry.finished and (entry.folder / "model.safetensors").is_file():
                reason = "checkpoint of a finished run; without it, the run can't be trained longer or rescored"
                for name in ("best", "last", "previous"):
                    path = entry.folder / CHECKPOINTS / f"{name}.ckpt"
                    if path.is_file() and not (path.is_symlink() or path.parent.is_symlink()):
                        yield Leftover(path, reason, (lock_of(entry.folder),))


def _replaced_stores(group: Path, stores: list[Entry]) -> Iterator[Leftover]:
    """Yield the finished stores that no run reads, if a newer finished store has the same images and CNN."""
    runs = [entry for stage in ("pretrain", "rank_taps") for entry in inventory.entries(group.parent / stage)]
    if not all(entry.settings for entry in runs):  # the record of a run is damaged, so it could read any store
        return
    read = {entry.settings.get("samples") for entry in runs}
    finished = [store for store in stores if store.finished]
    for store in finished:
        newer = (other for other in finished if other.changed > store.changed and _shared(other) == _shared(store))
        replacement = max(newer, key=lambda other: other.changed, default=None)
        if replacement is not None and short_hash(store.settings) not in read:
            reason = f"store that no run reads; {replacement.folder.name} is newer and of the same images and CNN"
            yield Leftover(store.folder, reason, _store_locks(store.folder))


def _shared(store: Entry) -> dict[str, object]:
    return {name: value for name, value in store.settings.items() if name not in SAMPLE_ENTRIES}


def _idle_sweeps(runs: Path, days: float) -> Iterator[Leftover]:
    for sweep in inventory.sweeps(runs):
        folder = sweep.folder
        idle = is_inside(folder, runs) and not any((folder / "jobs").glob("*"))
        if idle and idle_seconds(folder) > days * 86400:
            reason = f"sweep without any finished job{_unchanged(days)}"
            yield Leftover(folder, reason, (lock_of(folder), *folder.glob("*.lock")))


def _unchanged(days: float) -> str:
    """Return the words that say for how long something has not changed; none for 0 days."""
    return f", unchanged for {days:g} day{'' if days == 1 else 's'}" if days else ""


def _store_locks(folder: Path) -> tuple[Path, ...]:
    return tuple(folder.glob(".*.lock"))
