"""What has been predicted into a folder: a line of JSON for each image, so that a second run skips it.

A line is written, in one go, after all files of its image; one that was cut off does not count.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from hypercolumns.errors import HypercolumnsError
from hypercolumns.files import release, replacing
from hypercolumns.prediction.inputs import Origin

NAME = "predictions.jsonl"


class Record:
    """The record of a folder, to which nobody else writes between `with` and its end.

    Attributes:
        path: of its file.
        counts: name of an image -> its pixels of each class.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
        """Open it, or begin it; `settings` are what decides the outputs.

        Raises HypercolumnsError if there are outputs that were made with other settings, or somebody is making some.
        """
        self.path = folder / NAME
        self._lock = _locked(folder)
        try:
            self._open(settings, overwrite)
        except BaseException:
            release(self._lock)
            raise

    def __enter__(self) -> "Record":
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let others write."""
        release(self._lock)

    def _open(self, settings: Mapping[str, Any], overwrite: bool) -> None:
        self._origins: dict[str, Origin | None] = {}
        self.counts: dict[str, list[int]] = {}
        if overwrite or not self.path.is_file():
            self._begin(settings)
            return
        for temporary in self.path.parent.rglob(".*.tmp"):  # of a process that was killed
            temporary.unlink(missing_ok=True)
        found, *images = _lines(self.path)
        if found != settings:
            changed = [name for name in {**settings, **found} if settings.get(name) != found.get(name)]
            said = ", ".join(f"{name} {found.get(name)} there, {settings.get(name)} now" for name in changed)
            raise HypercolumnsError(
                f"out={self.path.parent} holds predictions made otherwise ({said}); choose another folder, or "
                f"replace them by overwrite=true"
            )
        for image in images:
            self._origins[image["name"]], self.counts[image["name"]] = image["origin"], image["pixels"]
        self._begin(settings, images)  # without what a kill has cut off

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a folder has one."""
        return (folder / NAME).is_file()

    def has(self, name: str, origin: Origin | None) -> bool:
        """Whether an image's files were written, and the image is still the same."""
        return origin is not None and name in self._origins and self._origins[name] == origin

    def add(self, name: str, origin: Origin | None, pixels: Iterable[int]) -> None:
        """All files of an image are written."""
        self._origins[name], self.counts[name] = origin, list(pixels)
        line = json.dumps({"name": name, "origin": origin, "pixels": self.counts[name]})
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, f"{line}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise HypercolumnsError(f"{self.path} can't be written ({error})") from error

    def _begin(self, settings: Mapping[str, Any], images: Iterable[Mapping[str, Any]] = ()) -> None:
        with replacing(self.path) as temporary:
            temporary.write_text("".join(f"{json.dumps(line)}\n" for line in (settings, *images)), encoding="utf-8")


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


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # the process was killed as it wrote it
            continue
    if not found or not all(isinstance(line, dict) for line in found):
        raise HypercolumnsError(f"{path} is not the record of predictions; remove it, or choose another out=")
    return found
