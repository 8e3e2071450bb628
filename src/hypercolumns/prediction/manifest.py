"""The record of the predictions in an output folder, with an entry for each image.

The record lets a later run skip the images whose outputs exist and are valid. It also protects files of other programs
from being replaced. The record is a text file. Each line is a JSON value:

1. The first line holds the settings that decide the predictions.
2. A run appends a line before it writes the outputs of an image. The line holds the image's name, its origin and the
   names of the outputs. If the run is killed while it writes the outputs, this line tells the next run that no other
   program wrote the output files. The next run may therefore replace them.
3. The run appends a second line for the image after it has written the outputs. This line also holds the number of
   pixels that are predicted as each class. The outputs are valid only if the record has this second line.

A run appends each line with a single system call. If a kill truncates a line, later runs ignore this line. If several
lines have the name of the same image, only the last line counts.
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
        origin: identifies the input from which the outputs were made, see `Frame.origin`.
        outputs: maps the name of each output to the drawing options with which its file was written, see
            `PredictOptions.output_settings`. The value is None until the image's outputs are written.
        pixels: the number of pixels that are predicted as each class, in the order of the class indices. None: the
            outputs are not valid, because some were not written or other settings decided them. A run may replace the
            files of outputs that are not valid.
    """

    origin: Origin | None
    outputs: dict[str, Any] = field(default_factory=dict)
    pixels: list[int] | None = None


class PredictionManifest:
    """The record of the predictions in an output folder. Use it as a context manager.

    The constructor locks the folder: no other process can then write predictions to it. The end of the `with` block
    unlocks the folder. Call `start` first. Then, for each image, call `begin` before its outputs are written, and `add`
    after they are written.

    Args:
        out: the folder of the outputs; it is created if it does not exist.
        settings: maps the names of the settings that decide the predictions to their values (JSON values).
        outputs: maps the name of each requested output to the drawing options for its file, see
            `PredictOptions.output_settings`.
        overwrite: True: predict all images again, and replace existing files, even files of other programs. The entries
            of earlier runs then do not make an image done. False: keep the outputs of earlier runs, and refuse to
            replace files of other programs.

    Attributes:
        out: the folder of the outputs.
        outputs: the argument `outputs`.
        is_new: whether the folder had no record when the constructor was called.

    Raises:
        ArgumentError: if `out` holds predictions made with other settings and `overwrite` is False, if another process
            is writing predictions to `out`, or if `out` can't be written.
        HypercolumnsError: if `out` holds a file `predictions.jsonl` that is not a valid record.
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
        """Rewrite the record with only the last entry of each image, and delete temporary files of killed runs."""
        begun = {name: entry.outputs for name, entry in self._entries.items() if entry.pixels is None}
        files = (self.path(name, output) for name in begun for output in begun[name] if output in OUTPUTS)
        remove_temporaries(self._path, *files)
        lines = [self._settings, *(_line(*entry) for entry in self._entries.items())]
        with atomic_write(self._path) as temporary:
            temporary.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")

    def path(self, name: str, output: str) -> Path:
        """Return the path of an output file. `name` is the name of the image's outputs, `output` a key of `OUTPUTS`."""
        return self.out / OUTPUTS[output].file(name)

    def missing(self, name: str, origin: Origin | None) -> list[str]:
        """Return which of the requested outputs of an image must be written, as keys of `OUTPUTS`.

        If the record has no valid entry with this name and origin, all requested outputs must be written. Otherwise, an
        output must be written if its file does not exist, or if the file was drawn with other drawing options.
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
        """Return the number of pixels predicted as each class in an image that is done, in the order of the indices."""
        pixels = self._entries[name].pixels
        assert pixels is not None, "the image is done"
        return pixels

    def check(self, name: str, origin: Origin | None) -> None:
        """Check that an image's outputs will replace neither the outputs of another input nor files of other programs.

        If `overwrite` is True, nothing is checked.

        Raises:
            HypercolumnsError: if the file of a requested output exists, but the record does not list this output.
            ArgumentError: if the record has an entry with this name and an origin, in three cases: the entry's outputs
                were made from another input; the input is a stream and the entry is valid; or the argument `origin` is
                None.
        """
        if self._overwrite:
            return
        entry = self._entries.get(name)
        recorded = entry.outputs if entry is not None else {}
        unrecorded = (self.path(name, output) for output in self.outputs if output not in recorded)
        foreign = [path for path in unrecorded if os.path.exists(path)]  # Path.exists raises for overlong names
        if foreign:
            raise HypercolumnsError(
                f"{foreign[0]} exists, but {MANIFEST} does not list it; choose another out=, or set overwrite=true "
                f"to predict all images again and replace existing files"
            )
        if (
            entry is not None
            and entry.origin is not None
            and (origin is None or entry.origin["source"] != origin["source"] or (STREAM in origin and entry.pixels))
        ):
            raise ArgumentError(
                f"out={self.out} already holds the prediction of {entry.origin['source']} under the name {name}; "
                f"choose another folder, or set overwrite=true to predict all images again and replace existing files"
            )

    def check_sources(self, sources: Iterable[Source]) -> None:
        """Call `check` for each image file that exists. Videos are not checked: their number of frames is unknown."""
        for source in sources:
            if not source.video and (origin := source.origin()) is not None:
                self.check(source.name, origin)

    def begin(self, name: str, origin: Origin | None) -> None:
        """Record that the outputs of an image are about to be written."""
        before = self._entries.get(name, ManifestEntry(origin))
        self._append(name, ManifestEntry(origin, dict.fromkeys([*before.outputs, *self.outputs])))

    def add(self, name: str, origin: Origin | None, pixels: Iterable[int]) -> None:
        """Record that all requested outputs of an image are written.

        The record may already have an entry with this name. If that older entry is not valid (see
        `ManifestEntry.pixels`) or has another origin, the files that it lists are out of date. `add` deletes those that
        this run has not replaced.

        Args:
            name: the name of the image's outputs, see `Frame.name`.
            origin: identifies the input from which the outputs were made, see `Frame.origin`.
            pixels: the number of pixels that are predicted as each class, in the order of the class indices.

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
        """Whether the record has a valid entry with this name and origin; always False for a frame of a stream.

        If `overwrite` is True, only entries that this run has added are valid.
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
                f"set overwrite=true to predict all images again and replace existing files"
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
            raise HypercolumnsError(
                f"{self._path} can't be written ({error}); free some space or make the file writable, and run the same "
                f"command again"
            ) from error


def without_outputs(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that are not outputs of an earlier prediction, in the given order.

    A file is such an output if the record (`predictions.jsonl`) in one of its parent folders lists it.
    """

    @functools.cache
    def outputs(folder: Path) -> frozenset[Path]:
        try:
            entries = _parse(folder / MANIFEST)[1] if (folder / MANIFEST).is_file() else {}
        except (HypercolumnsError, OSError):  # the file can't be read, or another program wrote it
            entries = {}
        names = ((name, output) for name, entry in entries.items() for output in entry.outputs if output in OUTPUTS)
        return frozenset(folder / OUTPUTS[output].file(name) for name, output in names)

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
    """Read a record. Return the settings from its first line, and a dictionary from image names to entries.

    If several lines have the name of the same image, the entry comes from the last of these lines.
    """
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # a kill can truncate the line
            continue
    try:
        settings, *images = lines
        return dict(settings), {image.pop("name"): ManifestEntry(**image) for image in images}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HypercolumnsError(
            f"{path} is not a valid record of predictions; remove it, or choose another out="
        ) from error
