"""The record of the predictions in an output folder, with an entry for each image.

With the record, a second run can skip finished images, and does not replace files of other programs. The record is a
file of JSON lines:

1. The first line holds the settings that decide the predictions.
2. A line without pixel counts is appended before the outputs of an image are written. If the run is killed before all
   outputs are written, the next run knows that their files are not those of another program.
3. A line with pixel counts is appended after the outputs are written. It also holds the outputs' names and the input
   that they were made from.

Each line is appended with a single system call. A line that a kill truncated is ignored. If several lines are about the
same image, the last one counts.
"""

import functools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.files import atomic_write, release_lock, remove_temporaries
from hypercolumns.prediction.outputs import OUTPUTS
from hypercolumns.prediction.sources import STREAM, Origin, Source

MANIFEST = "predictions.jsonl"


@dataclass
class ManifestEntry:
    """The entry of one image in the record.

    Attributes:
        origin: identifies the input that the outputs were made from; None if the input could not be examined.
        outputs: the name of each output, and the settings that decided its file.
        pixels: the number of pixels of each class. None: the outputs are not valid, because their writing was begun but
            not finished, or because they were made with other settings. The next run replaces such files, as they are
            not those of another program.
    """

    origin: Origin | None
    outputs: dict[str, Any] = field(default_factory=dict)
    pixels: list[int] | None = None


class PredictionManifest:
    """The record of the predictions in an output folder. Use it as a context manager.

    The constructor locks the folder against other processes; leaving the `with` block unlocks the folder. Call `start`
    first, and then `begin` and `add` for each image.

    Args:
        out: the folder of the outputs; it is created if necessary.
        settings: the settings that decide the predictions, as JSON values.
        outputs: the name of each requested output, and the settings that decide its file.
        overwrite: whether to predict all images again and replace existing files, also those of other programs. An
            image is then done only after `add` has been called for it in this run.

    Attributes:
        out: the folder of the outputs.
        outputs: the name of each requested output, and the settings that decide its file.
        is_new: whether the folder had no record when the manifest was opened.

    Raises:
        ArgumentError: if `out` holds predictions made with other settings and `overwrite` is False, if another process
            is writing to the folder, or if the folder can't be written.
        HypercolumnsError: if the folder has a file of the record's name that is not a valid record.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], outputs: Mapping[str, Any], overwrite: bool) -> None:
        self.out, self.outputs, self._settings, self._overwrite = out, dict(outputs), settings, overwrite
        self._path = out / MANIFEST
        self._entries: dict[str, ManifestEntry] = {}
        self._added: set[str] = set()
        self._lock = _locked(out)
        try:
            self.is_new = not self._path.is_file()
            if not self.is_new:
                self._open()
        except BaseException:
            release_lock(self._lock)
            raise

    def __enter__(self) -> "PredictionManifest":
        """Return the manifest itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Unlock the folder."""
        release_lock(self._lock)

    def start(self) -> None:
        """Write the record with the entries of earlier runs, and delete the temporary files that a killed run left."""
        begun = {name: entry.outputs for name, entry in self._entries.items() if entry.pixels is None}
        files = (self.path(name, output) for name in begun for output in begun[name] if output in OUTPUTS)
        remove_temporaries(self._path, *files)
        lines = [self._settings, *(_line(*entry) for entry in self._entries.items())]
        with atomic_write(self._path) as temporary:
            temporary.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")

    def path(self, name: str, output: str) -> Path:
        """Return the path of an output (a key of `OUTPUTS`) of the image with this name."""
        return self.out / f"{name}{OUTPUTS[output].suffix}"

    def missing(self, name: str, origin: Origin | None) -> list[str]:
        """Return the names of the requested outputs of an image that must be written.

        These are all requested outputs if the record has no valid entry for this input. Otherwise they are the outputs
        whose files do not exist or were made with other settings.
        """
        if not self._is_of(name, origin):
            return list(self.outputs)
        recorded = self._entries[name].outputs
        current = {output for output, settings in self.outputs.items() if recorded.get(output) == settings}
        return [
            output for output in self.outputs if output not in current or not os.path.isfile(self.path(name, output))
        ]

    def is_done(self, name: str, origin: Origin | None) -> bool:
        """Whether all requested outputs of an image exist and are valid; always False for a frame of a stream."""
        return self._is_of(name, origin) and not self.missing(name, origin)

    def pixels(self, name: str) -> list[int]:
        """Return the number of pixels of each class, for an image that is done."""
        pixels = self._entries[name].pixels
        assert pixels is not None, "the image is done"
        return pixels

    def check(self, name: str, origin: Origin | None) -> None:
        """Check that the outputs of an image replace neither outputs of another image nor files of other programs.

        With `overwrite`, nothing is refused.

        Raises:
            HypercolumnsError: if a file of a requested output exists that the record does not list, or if the entry of
                this name is of another input or of an earlier stream.
        """
        if self._overwrite:
            return
        entry = self._entries.get(name)
        recorded = entry.outputs if entry is not None else {}
        unrecorded = (self.path(name, output) for output in self.outputs if output not in recorded)
        foreign = [path for path in unrecorded if os.path.exists(path)]  # Path.exists raises for overlong names
        if foreign:
            raise HypercolumnsError(
                f"{foreign[0]} exists, but {MANIFEST} does not list it; choose another out=, or replace the file "
                f"with overwrite=true"
            )
        if (
            entry is not None
            and entry.origin is not None
            and (origin is None or entry.origin["source"] != origin["source"] or (STREAM in origin and entry.pixels))
        ):
            raise ArgumentError(
                f"out={self.out} already holds the prediction of {entry.origin['source']} under the name {name}; "
                f"choose another folder, or replace the prediction with overwrite=true"
            )

    def check_sources(self, sources: Iterable[Source]) -> None:
        """Call `check` for every image file that exists. Frames of videos are left out, as they are not known yet."""
        for source in sources:
            if not source.video and (origin := source.origin()) is not None:
                self.check(source.name, origin)

    def begin(self, name: str, origin: Origin | None) -> None:
        """Record that the outputs of an image are about to be written."""
        before = self._entries.get(name, ManifestEntry(origin))
        self._append(name, ManifestEntry(origin, dict.fromkeys([*before.outputs, *self.outputs])))

    def add(self, name: str, origin: Origin | None, pixels: Iterable[int]) -> None:
        """Record that all requested outputs of an image are written.

        If the previous entry of this name is not valid or is of another input, the outputs that it lists and that are
        not requested now are deleted.

        Args:
            name: the name of the image's outputs.
            origin: identifies the input that the outputs were made from.
            pixels: the number of pixels of each class.

        Raises:
            HypercolumnsError: if the record can't be written.
        """
        before = self._entries.get(name, ManifestEntry(origin))
        same = before.pixels is not None and before.origin == origin
        if not same:
            for output in set(before.outputs) & set(OUTPUTS) - set(self.outputs):
                self.path(name, output).unlink(missing_ok=True)
        self._added.add(name)
        self._entries[name] = ManifestEntry(origin, {**(before.outputs if same else {}), **self.outputs}, list(pixels))
        self._append(name, self._entries[name])

    def _is_of(self, name: str, origin: Origin | None) -> bool:
        """Whether the entry of a name is valid and of this input; always False for a frame of a stream.

        With `overwrite`, only the entries that `add` has made in this run are valid.
        """
        entry = self._entries.get(name)
        if entry is None or entry.pixels is None or (self._overwrite and name not in self._added):
            return False
        return origin is not None and entry.origin == origin and STREAM not in origin

    def _open(self) -> None:
        before, self._entries = _parse(self._path)
        if before == self._settings:
            return
        if not self._overwrite:
            now = self._settings
            changed = [name for name in {**now, **before} if now.get(name) != before.get(name)]
            differences = ", ".join(f"{name}: {before.get(name)} before, {now.get(name)} now" for name in changed)
            raise ArgumentError(
                f"out={self.out} holds predictions made with other settings ({differences}); choose another folder, or "
                f"replace the predictions with overwrite=true"
            )
        for entry in self._entries.values():
            entry.pixels = None

    def _append(self, name: str, entry: ManifestEntry) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, f"{json.dumps(_line(name, entry))}\n".encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise HypercolumnsError(f"{self._path} can't be written ({error})") from error


def without_outputs(paths: Sequence[Path]) -> list[Path]:
    """Return the paths without the files that the record of one of their parent folders lists as outputs."""

    @functools.cache
    def outputs(folder: Path) -> frozenset[Path]:
        try:
            entries = _parse(folder / MANIFEST)[1] if (folder / MANIFEST).is_file() else {}
        except (HypercolumnsError, OSError):  # unreadable, or of another program
            entries = {}
        names = ((name, output) for name, entry in entries.items() for output in entry.outputs if output in OUTPUTS)
        return frozenset(folder / f"{name}{OUTPUTS[output].suffix}" for name, output in names)

    def is_output(path: Path) -> bool:
        absolute = Path(os.path.abspath(path))
        return any(absolute in outputs(folder) for folder in absolute.parents)

    return [path for path in paths if not is_output(path)]


def _line(name: str, entry: ManifestEntry) -> dict[str, Any]:
    return {"name": name, "origin": entry.origin, "outputs": entry.outputs, "pixels": entry.pixels}


def _locked(out: Path) -> BaseFileLock:
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / f".{MANIFEST}.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise ArgumentError(
            f"out={out} is being written by another process; wait until that process ends, or choose another folder"
        ) from None
    except OSError as error:
        raise ArgumentError(f"out={out} can't be written ({error}); choose another folder") from error
    return lock


def _parse(path: Path) -> tuple[dict[str, Any], dict[str, ManifestEntry]]:
    """Read the settings and the entry of each image; if an image has several lines, the last one counts."""
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # a kill truncated the line
            continue
    try:
        settings, *images = lines
        return dict(settings), {image.pop("name"): ManifestEntry(**image) for image in images}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HypercolumnsError(
            f"{path} is not a valid record of predictions; remove it, or choose another out="
        ) from error
