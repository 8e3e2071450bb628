"""The record of the predictions in an output folder, one entry per image.

The record lets a second run skip finished images and protects files that this program did not write. It is a file of
JSON lines:

1. The first line holds the settings that decide the predictions.
2. Before the outputs of an image are written, a line without pixel counts marks them as begun. After a kill, the next
   run therefore knows which files may be incomplete.
3. After the outputs are written, a second line lists them, the input that they were made from, and the pixel counts.

Each line is written with a single system call. A truncated line is ignored. The last line of an image counts.
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
    """The record of one image.

    Attributes:
        origin: the input that the outputs were made from; None if its file could not be examined.
        outputs: the name of each output and the settings that made it.
        pixels: the number of pixels of each class. None: the outputs are not valid, because writing them was only begun
            or because they were made with other settings. This program wrote the files, so it may replace them.
    """

    origin: Origin | None
    outputs: dict[str, Any] = field(default_factory=dict)
    pixels: list[int] | None = None


class PredictionManifest:
    """The record of the predictions in an output folder. Use it as a context manager.

    The constructor locks the folder against other processes; leaving the `with` block unlocks it. The record is not
    written before `start`.

    Args:
        out: the folder of the outputs; it is created if necessary.
        settings: the settings that decide the predictions, as JSON values.
        outputs: the name of each requested output, and the settings that decide its file.
        overwrite: ignore earlier predictions: an image is done only once `add` has been called for it.

    Attributes:
        out: the folder of the outputs.
        outputs: the name of each requested output, and the settings that decide its file.
        is_new: whether the folder had no record.

    Raises:
        ArgumentError: if `out` holds predictions made with other settings and `overwrite` is False, if another process
            is writing to the folder, or if it can't be written.
        HypercolumnsError: if the record is not valid.
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
        """Rewrite the record with one line per image, and delete the temporary files that a killed run left behind."""
        begun = {name: entry.outputs for name, entry in self._entries.items() if entry.pixels is None}
        files = (self.path(name, output) for name in begun for output in begun[name] if output in OUTPUTS)
        remove_temporaries(self._path, *files)
        lines = [self._settings, *(_line(*entry) for entry in self._entries.items())]
        with atomic_write(self._path) as temporary:
            temporary.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")

    def path(self, name: str, output: str) -> Path:
        """Return the path of one output of an image."""
        return self.out / f"{name}{OUTPUTS[output].suffix}"

    def missing(self, name: str, origin: Origin | None) -> list[str]:
        """Return the requested outputs of an image that do not exist, or that another input or other settings made."""
        if not self._is_of(name, origin):
            return list(self.outputs)
        recorded = self._entries[name].outputs
        current = {output for output, settings in self.outputs.items() if recorded.get(output) == settings}
        return [
            output for output in self.outputs if output not in current or not os.path.isfile(self.path(name, output))
        ]

    def is_done(self, name: str, origin: Origin | None) -> bool:
        """Whether all requested outputs of an image exist and are valid; never true for a stream."""
        return self._is_of(name, origin) and not self.missing(name, origin)

    def pixels(self, name: str) -> list[int]:
        """Return the number of pixels of each class, for an image that is done."""
        pixels = self._entries[name].pixels
        assert pixels is not None, "the image is done"
        return pixels

    def check(self, name: str, origin: Origin | None) -> None:
        """Check that writing the outputs of an image replaces neither another image's outputs nor foreign files.

        Raises:
            HypercolumnsError: if an output exists that the record does not list, or the name belongs to another input.
        """
        if self._overwrite:
            return
        entry = self._entries.get(name)
        if entry is None:
            existing = [path for output in self.outputs if os.path.exists(path := self.path(name, output))]
            if existing:
                raise HypercolumnsError(
                    f"{existing[0]} exists, but {MANIFEST} does not list it; choose another out, or replace the file "
                    f"with overwrite=true"
                )
        elif entry.origin is not None and (
            origin is None or entry.origin["source"] != origin["source"] or (STREAM in origin and entry.pixels)
        ):
            raise ArgumentError(
                f"out={self.out} already holds the prediction of {entry.origin['source']} under the name {name}; "
                f"choose another folder, or replace the prediction with overwrite=true"
            )

    def check_sources(self, sources: Iterable[Source]) -> None:
        """Call `check` for every image file that exists. Video frames are not known yet and are checked one by one."""
        for source in sources:
            if not source.video and (origin := source.origin()) is not None:
                self.check(source.name, origin)

    def begin(self, name: str, origin: Origin | None) -> None:
        """Record that the outputs of an image are about to be written."""
        before = self._entries.get(name, ManifestEntry(origin))
        self._append(name, ManifestEntry(origin, dict.fromkeys([*before.outputs, *self.outputs])))

    def add(self, name: str, origin: Origin | None, pixels: Iterable[int]) -> None:
        """Record that all requested outputs of an image are written.

        If the earlier outputs of this name are not valid any more, those that were not requested again are deleted.

        Args:
            name: the name of the image's outputs.
            origin: the input that they were made from.
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
        """Whether the recorded outputs of a name are valid and were made from this input."""
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
    """Leave out the files that the record of a parent folder lists as outputs."""

    @functools.cache
    def outputs(folder: Path) -> frozenset[Path]:
        try:
            entries = _parse(folder / MANIFEST)[1] if (folder / MANIFEST).is_file() else {}
        except (HypercolumnsError, OSError):  # another program wrote this file
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
            f"out={out} is being written by another process; wait until it ends, or choose another folder"
        ) from None
    except OSError as error:
        raise ArgumentError(f"out={out} can't be written ({error}); choose another folder") from error
    return lock


def _parse(path: Path) -> tuple[dict[str, Any], dict[str, ManifestEntry]]:
    """Read the settings and the entry of each image; the last line of an image counts."""
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
            f"{path} is not a valid record of predictions; remove it, or choose another out"
        ) from error
