"""What has been predicted into a folder, image by image, so that a second run skips it and nothing else is replaced.

A file of JSON lines. The first says what decides the predictions. Before an image's files are written a line says so,
for they may then be left by a kill; after them another says which they are, and what of. Each line is written in one
go, and one that was cut off does not count.
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
    """What is known of an image: what it was, its outputs (name -> settings that made it), its pixels of each class.

    Without pixels it was only begun, or is of other settings: the outputs are files of ours that don't count.
    """

    origin: Origin | None
    outputs: dict[str, Any] = field(default_factory=dict)
    pixels: list[int] | None = None


class PredictionManifest:
    """The record of a folder, to which nobody else writes between `with` and its end; nothing is, before `start`.

    Attributes:
        out: the folder of the outputs.
        outputs: those that are requested, name -> the settings that make it.
        is_new: whether nothing had been predicted into it.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], outputs: Mapping[str, Any], overwrite: bool) -> None:
        """Open it.

        Args:
            out: the folder of the outputs.
            settings: what decides the predictions.
            outputs: see the class.
            overwrite: count only as done what is added from now on.

        Raises:
            ArgumentError: if `out` has predictions that were made with other settings, or somebody is writing some.
            HypercolumnsError: if its record can't be read.
        """
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
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let others write."""
        release_lock(self._lock)

    def start(self) -> None:
        """Write what is known, and remove what a kill has left of outputs that were begun."""
        begun = {name: entry.outputs for name, entry in self._entries.items() if entry.pixels is None}
        files = (self.path(name, output) for name in begun for output in begun[name] if output in OUTPUTS)
        remove_temporaries(self._path, *files)
        lines = [self._settings, *(_line(*entry) for entry in self._entries.items())]
        with atomic_write(self._path) as temporary:
            temporary.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")

    def path(self, name: str, output: str) -> Path:
        """The file of an output of an image."""
        return self.out / f"{name}{OUTPUTS[output].suffix}"

    def missing(self, name: str, origin: Origin | None) -> list[str]:
        """The outputs that are requested of an image, and are not there or were made otherwise."""
        if not self._is_of(name, origin):
            return list(self.outputs)
        made = self._entries[name].outputs
        current = {output for output, settings in self.outputs.items() if made.get(output) == settings}
        return [
            output for output in self.outputs if output not in current or not os.path.isfile(self.path(name, output))
        ]

    def is_done(self, name: str, origin: Origin | None) -> bool:
        """Whether all that is requested of an image is there."""
        return self._is_of(name, origin) and not self.missing(name, origin)

    def pixels(self, name: str) -> list[int]:
        """Of each class, of an image that is done."""
        pixels = self._entries[name].pixels
        assert pixels is not None, "it is done"
        return pixels

    def check(self, name: str, origin: Origin | None) -> None:
        """Raise HypercolumnsError if outputs of another image, or files of somebody else, would be replaced."""
        if self._overwrite:
            return
        entry = self._entries.get(name)
        if entry is None:
            existing = [path for output in self.outputs if os.path.exists(path := self.path(name, output))]
            if existing:
                raise HypercolumnsError(
                    f"{existing[0]} is there, and {MANIFEST} does not list it; choose another out, or replace it by "
                    f"overwrite=true"
                )
        elif entry.origin is not None and (
            origin is None or entry.origin["source"] != origin["source"] or (STREAM in origin and entry.pixels)
        ):
            raise ArgumentError(
                f"out={self.out} holds what was predicted of {entry.origin['source']} under the name {name}; choose "
                f"another folder, or replace it by overwrite=true"
            )

    def check_sources(self, sources: Iterable[Source]) -> None:
        """Check the images that are there, as `check` does; a video's frames are checked as they come."""
        for source in sources:
            if not source.video and (origin := source.origin()) is not None:
                self.check(source.name, origin)

    def begin(self, name: str, origin: Origin | None) -> None:
        """The files of an image will be written now."""
        before = self._entries.get(name, ManifestEntry(origin))
        self._append(name, ManifestEntry(origin, dict.fromkeys([*before.outputs, *self.outputs])))

    def add(self, name: str, origin: Origin | None, pixels: Iterable[int]) -> None:
        """All files of an image are written; others of it that were made of another image or otherwise are removed."""
        before = self._entries.get(name, ManifestEntry(origin))
        same = before.pixels is not None and before.origin == origin
        if not same:
            for output in set(before.outputs) & set(OUTPUTS) - set(self.outputs):
                self.path(name, output).unlink(missing_ok=True)
        self._added.add(name)
        self._entries[name] = ManifestEntry(origin, {**(before.outputs if same else {}), **self.outputs}, list(pixels))
        self._append(name, self._entries[name])

    def _is_of(self, name: str, origin: Origin | None) -> bool:
        """Whether the outputs of a name are of this image, and count."""
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
            differences = ", ".join(f"{name} {before.get(name)} there, {now.get(name)} now" for name in changed)
            raise ArgumentError(
                f"out={self.out} holds predictions made otherwise ({differences}); choose another folder, or replace "
                f"them by overwrite=true"
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
    """The paths of files, but those of outputs by the record of a folder that they are in."""

    @functools.cache
    def outputs(folder: Path) -> frozenset[Path]:
        try:
            entries = _parse(folder / MANIFEST)[1] if (folder / MANIFEST).is_file() else {}
        except (HypercolumnsError, OSError):  # it is a file of somebody else
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
            f"out={out} is being written by another process; wait for its end, or choose another folder"
        ) from None
    except OSError as error:
        raise ArgumentError(f"out={out} can't be written ({error}); choose another folder") from error
    return lock


def _parse(path: Path) -> tuple[dict[str, Any], dict[str, ManifestEntry]]:
    """The settings, and what is known of each image: the last line of it counts."""
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # the process was killed as it wrote it
            continue
    try:
        settings, *images = lines
        return dict(settings), {image.pop("name"): ManifestEntry(**image) for image in images}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HypercolumnsError(f"{path} is not the record of predictions; remove it, or choose another out") from error
