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

from hypercolumns.errors import HypercolumnsError
from hypercolumns.files import release, remove_temporaries, replacing
from hypercolumns.prediction.frames import Origin
from hypercolumns.prediction.outputs import OUTPUTS

NAME = "predictions.jsonl"


@dataclass
class Entry:
    """What is known of an image: what it was, its outputs (kind -> how it was made), its pixels of each class.

    Of one that was only begun, the outputs are those that may be there.
    """

    origin: Origin | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    pixels: list[int] | None = None


class Record:
    """The record of a folder, to which nobody else writes between `with` and its end.

    Attributes:
        folder: of the outputs.
        is_new: whether nothing had been predicted into it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], outputs: Mapping[str, Any], overwrite: bool) -> None:
        """Open it, or begin it.

        Args:
            folder: of the outputs.
            settings: what decides the predictions.
            outputs: those that are wanted, kind -> how it is made.
            overwrite: count nothing as done.

        Raises:
            HypercolumnsError: if there are predictions that were made with other settings, or somebody is writing some.
        """
        self.folder, self.outputs, self._overwrite = folder, dict(outputs), overwrite
        self._path = folder / NAME
        self._entries: dict[str, Entry] = {}
        self.is_new = not self._path.is_file()
        self._lock = _locked(folder)
        try:
            if not self.is_new:
                self._open(settings)
            with replacing(self._path) as temporary:
                lines = [settings, *(_line(*entry) for entry in self._entries.items())]
                temporary.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        except BaseException:
            release(self._lock)
            raise

    def __enter__(self) -> "Record":
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let others write."""
        release(self._lock)

    def path(self, name: str, kind: str) -> Path:
        """The file of an output of an image."""
        return self.folder / f"{name}{OUTPUTS[kind].suffix}"

    def missing(self, name: str, origin: Origin | None) -> list[str]:
        """The kinds of outputs that are wanted of an image, and are not there or were made otherwise."""
        entry = self._entries.get(name, Entry())
        if entry.origin is None or entry.origin != origin:
            return list(self.outputs)
        made = {kind for kind, how in self.outputs.items() if entry.outputs.get(kind, how) == how}
        there = {kind for kind in made & set(entry.outputs) if os.path.isfile(self.path(name, kind))}
        return [kind for kind in self.outputs if kind not in there]

    def is_done(self, name: str, origin: Origin | None) -> bool:
        """Whether all that is wanted of an image is there."""
        entry = self._entries.get(name, Entry())
        return entry.origin is not None and entry.origin == origin and not self.missing(name, origin)

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
            there = [path for kind in self.outputs if os.path.exists(path := self.path(name, kind))]
            if there:
                raise HypercolumnsError(
                    f"{there[0]} is there, and predict.py has not recorded it; choose another out=, or replace it by "
                    f"overwrite=true"
                )
        elif entry.origin is not None and (origin is None or entry.origin["source"] != origin["source"]):
            raise HypercolumnsError(
                f"out={self.folder} holds what was predicted of {entry.origin['source']} under the name {name}; choose "
                f"another folder, or replace it by overwrite=true"
            )

    def begin(self, name: str) -> None:
        """The files of an image will be written now."""
        before = self._entries.get(name, Entry())
        self._append(name, Entry(outputs=before.outputs | dict.fromkeys(self.outputs)))
        self._entries[name] = before  # which is still what is there

    def add(self, name: str, origin: Origin | None, pixels: Iterable[int]) -> None:
        """All files of an image are written."""
        before = self._entries.get(name, Entry())
        kept = before.outputs if origin is not None and before.origin == origin else {}
        self._entries[name] = Entry(origin, kept | self.outputs, list(pixels))
        self._append(name, self._entries[name])

    def _open(self, settings: Mapping[str, Any]) -> None:
        found, self._entries = _read(self._path)
        if found != settings and not self._overwrite:
            changed = [name for name in {**settings, **found} if settings.get(name) != found.get(name)]
            said = ", ".join(f"{name} {found.get(name)} there, {settings.get(name)} now" for name in changed)
            raise HypercolumnsError(
                f"out={self.folder} holds predictions made otherwise ({said}); choose another folder, or replace them "
                f"by overwrite=true"
            )
        for name, entry in self._entries.items():
            if entry.pixels is None:  # a kill may have left some
                for kind in entry.outputs:
                    remove_temporaries(self.path(name, kind))
            elif self._overwrite:
                self._entries[name] = Entry(outputs=entry.outputs)

    def _append(self, name: str, entry: Entry) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, f"{json.dumps(_line(name, entry))}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise HypercolumnsError(f"{self._path} can't be written ({error})") from error


def without_outputs(paths: Sequence[Path]) -> list[Path]:
    """The paths of files, but those of outputs by the record of a folder that they are in."""

    @functools.cache
    def outputs(folder: Path) -> frozenset[Path]:
        if not (folder / NAME).is_file():
            return frozenset()
        _, entries = _read(folder / NAME)
        names = ((name, kind) for name, entry in entries.items() for kind in entry.outputs if kind in OUTPUTS)
        return frozenset(folder / f"{name}{OUTPUTS[kind].suffix}" for name, kind in names)

    def is_output(path: Path) -> bool:
        there = Path(os.path.abspath(path))
        return any(there in outputs(folder) for folder in there.parents)

    return [path for path in paths if not is_output(path)]


def _line(name: str, entry: Entry) -> dict[str, Any]:
    return {"name": name, "origin": entry.origin, "outputs": entry.outputs, "pixels": entry.pixels}


def _locked(folder: Path) -> BaseFileLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{NAME}.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise HypercolumnsError(
            f"out={folder} is being written by another process; wait for its end, or choose another folder"
        ) from None
    except OSError as error:
        raise HypercolumnsError(f"out={folder} can't be written ({error}); choose another folder") from error
    return lock


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Entry]]:
    """The settings, and what is known of each image: the last line of it counts."""
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # the process was killed as it wrote it
            continue
    try:
        settings, *images = lines
        return dict(settings), {one.pop("name"): Entry(**one) for one in images}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HypercolumnsError(
            f"{path} is not the record of predictions; remove it, or choose another out="
        ) from error
