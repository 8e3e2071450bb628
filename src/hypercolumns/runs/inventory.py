"""List the runs, stores and sweeps on the disk, and how far each of them is.

Everything is read from small files (JSON and CSV). A file that is damaged becomes a problem of its entry, not an error.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import is_locked, read_json
from hypercolumns.io.store_files import FINGERPRINT, INDEX, SIDECARS
from hypercolumns.runs.file_names import CHECKPOINTS, ENVIRONMENT, METRICS, RUN_FILE, RUN_STAGES, SWEEP_FILE

SAMPLES, SWEEPS = "samples", "sweeps"
MAX_VALUE = 24  # a table shows at most this many characters of a setting's value
MAX_SETTINGS = 6  # a table shows at most this many settings of an entry


@dataclass
class Entry:
    """A run, a store or a sweep.

    Attributes:
        folder: its folder.
        finished: whether it is finished.
        state: how far it is, such as `finished` or `epoch 3 of 10`; or what is wrong with its files.
        changed: when it finished or, if it is unfinished, when it last changed; seconds since 1970.
        bytes: the size of its files.
        running: whether a process works on it now.
        miou: its mIoU, or the best mIoU of a sweep; None if there is none.
        origin: the `command` that made it, the `directory` of that command and, if a job of a sweep made it, the folder
            of the `sweep`, as far as they are recorded.
        settings: everything that decides its content, by dotted names; {} if that is not recorded.
    """

    folder: Path
    finished: bool
    state: str
    changed: float
    bytes: int
    running: bool = False
    miou: float | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def groups(runs: Path) -> Iterator[Path]:
    """Yield the folders <runs>/<data>/<cnn>/<stage> and <runs>/<data>/<cnn>/samples that exist, sorted."""
    for cnn in sorted(path for path in runs.glob("*/*") if path.is_dir() and path.parent.name != SWEEPS):
        for name in (SAMPLES, *RUN_STAGES):
            if (cnn / name).is_dir():
                yield cnn / name


def entries(group: Path) -> list[Entry]:
    """Return the runs or the stores in a folder that `groups` yields. Other files and folders are left out."""
    read = _store if group.name == SAMPLES else _run
    mark = FINGERPRINT if group.name == SAMPLES else RUN_FILE
    folders = sorted(path.parent for path in group.glob(f"*/{mark}") if not path.parent.is_symlink())
    return [read(folder) for folder in folders]


def sweeps(runs: Path) -> list[Entry]:
    """Return the sweeps in the folder `runs`."""
    return [_sweep(path.parent) for path in sorted((runs / SWEEPS).glob(f"*/{SWEEP_FILE}"))]


def sweep_of(entry: Entry) -> Entry | None:
    """Return the sweep whose job made a run or a store; None if no job did, or the folder of the sweep is gone."""
    folder = Path(entry.origin["sweep"]) if "sweep" in entry.origin else None
    return _sweep(folder) if folder is not None and (folder / SWEEP_FILE).is_file() else None


def distinguish(listed: Sequence[Entry]) -> list[str]:
    """Describe the settings of each entry that differ between the entries, such as `seed=1 optimizer.lr=0.001`."""
    values = [{name: _short(value) for name, value in flat(entry.settings)} for entry in listed]
    names = dict.fromkeys(name for shown in values for name in shown)
    differing = [name for name in names if len({shown.get(name) for shown in values if shown}) > 1]
    more = f" and {len(differing) - MAX_SETTINGS} more" if len(differing) > MAX_SETTINGS else ""
    return [
        " ".join(f"{name}={shown[name]}" for name in differing[:MAX_SETTINGS] if name in shown) + more if shown else ""
        for shown in values
    ]


def total_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder, in bytes. Links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return _status(path).st_size if path.is_symlink() or path.exists() else 0
    return sum(_status(Path(folder) / name).st_size for folder, _, names in os.walk(path) for name in names)


def last_change(path: Path) -> float:
    """Return when a file, or the newest file in a folder, was changed; seconds since 1970. Links are not followed."""
    times = [_status(path).st_mtime]
    if path.is_dir() and not path.is_symlink():
        times = [_status(Path(folder) / name).st_mtime for folder, _, names in os.walk(path) for name in names] or times
    return max(times)


def events_of(run: Path) -> Path:
    """Return the folder of a run's event files, given the folder of the run."""
    return run.parent.parent / "events" / f"{run.parent.name}-{run.name}"


def lock_of(folder: Path) -> Path:
    """Return the path of the lock file that a process holds while it works on a run or a sweep, given its folder."""
    return folder.with_name(f".{folder.name}.lock")


def _run(folder: Path) -> Entry:
    entry = _entry(folder, [lock_of(folder)])
    entry.bytes += total_bytes(events_of(folder))
    record, problem = _read(folder / RUN_FILE)
    if problem or not isinstance(record.get("fingerprint"), dict):
        entry.state = problem or f"damaged: {RUN_FILE} is not the record of a run"
        return entry
    entry.settings, finished = record["fingerprint"], record.get("finished")
    miou = _read(folder / METRICS)[0].get("miou")
    entry.miou = float(miou) if isinstance(miou, int | float) else None
    if isinstance(finished, str):
        entry.finished, entry.state, entry.changed = True, "finished", _seconds(finished, entry.changed)
    elif (folder / "model.safetensors").is_file():
        entry.state = "trained, not scored"
    elif any((folder / CHECKPOINTS).glob("*.ckpt")):
        trainer = entry.settings.get("trainer")
        epochs = trainer.get("max_epochs") if isinstance(trainer, dict) else None
        entry.state = f"epoch {_epochs(folder / 'metrics.csv')} of {epochs or '?'}"
    else:
        entry.state = "no epoch yet"
    return entry


def _store(folder: Path) -> Entry:
    entry = _entry(folder, list(folder.glob(".*.lock")))
    entry.settings, problem = _read(folder / FINGERPRINT)
    entry.finished = (folder / INDEX).is_file() and not problem
    shards, total = len(list(folder.glob(SIDECARS))), _read(folder / ENVIRONMENT)[0].get("shards", "?")
    if entry.finished:
        entry.changed = _status(folder / INDEX).st_mtime
    entry.state = problem or ("finished" if entry.finished else f"{shards} of {total} shards")
    return entry


def _sweep(folder: Path) -> Entry:
    entry = _entry(folder, [lock_of(folder), *folder.glob("[0-9]*.lock")])
    record, problem = _read(folder / SWEEP_FILE)
    jobs = [_read(path)[0] for path in (folder / "jobs").glob("*.json")]
    counts = Counter(str(job.get("status", "damaged")) for job in jobs)
    total = record.get("jobs")
    entry.state = problem or ", ".join(
        [
            f"{len(jobs)} of {'?' if total is None else total} jobs",
            *(f"{counts[name]} {name}" for name in sorted(counts)),
        ]
    )
    entry.finished = isinstance(total, int) and counts["done"] + counts["pruned"] >= total
    entry.miou = max((job["miou"] for job in jobs if isinstance(job.get("miou"), int | float)), default=None)
    entry.origin = _origin(record)
    values = record["sweep"].get("values") if isinstance(record.get("sweep"), dict) else None
    entry.settings = {"values": " ".join(map(str, values))} if isinstance(values, list) else {}
    return entry


def _entry(folder: Path, locks: Sequence[Path]) -> Entry:
    return Entry(
        folder,
        finished=False,
        state="",
        changed=last_change(folder),
        bytes=total_bytes(folder),
        running=any(map(is_locked, locks)),
        origin=_origin(_read(folder / ENVIRONMENT)[0]),
    )


def _origin(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: record[name] for name in ("command", "directory", "sweep") if isinstance(record.get(name), str)}


def _read(path: Path) -> tuple[dict[str, Any], str | None]:
    """Read a JSON object; return ({}, what is wrong) if the file is damaged, and ({}, None) if there is no file."""
    if not path.is_file():
        return {}, None
    try:
        return read_json(path), None
    except HypercolumnsError:
        return {}, f"damaged: remove {path.name}, and give the command again"


def _epochs(table: Path) -> int:
    """Return the number of epochs that a training has completed, by the rows of its metrics.csv."""
    try:
        with table.open(newline="", encoding="utf-8") as file:
            return max((int(row["epoch"]) + 1 for row in csv.DictReader(file)), default=0)
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        return 0


def _seconds(text: str, default: float) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return default


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError:  # a running command has removed the file
        return os.stat_result((0,) * 10)


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each entry of a fingerprint, at any depth: `sampler.n`, 30."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."
