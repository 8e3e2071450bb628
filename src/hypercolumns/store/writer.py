"""Writing a store: by one process or several, in one go or after a kill."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import BaseFileLock, FileLock, Timeout

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import read_json, release_lock, remove, remove_temporaries, write_json
from hypercolumns.store.shard import FINGERPRINT, FORMAT, INDEX, ImageSamples, Shard

OWN_FILE = re.compile(r"\.?(index|fingerprint|\w+-\d{5})\.(safetensors|json|lock|.*\.tmp)")
MIN_SHARD_IMAGES = 32  # of a shard; what a kill can cost
MAX_SHARDS = 8192  # of a split; what a folder, and the memory maps of a process, hold with ease


class StoreInUseError(HypercolumnsError):
    """A store can't be removed, for another process is writing to it."""


class StoreWriter:
    """Writes what is missing of a store, beside other processes that do the same.

    Which images a shard holds is decided by their number alone, and what it holds by the fingerprint; so it does not
    matter who makes it. Processes share the work by locks, which end with the process that holds them.

        with StoreWriter(folder, fingerprint, {"train": 367, "val": 101}) as writer:
            while writer.missing("train"):
                for shard in writer.claims("train"):
                    writer.write(shard, samples_of(writer.images(shard)))
            ...
            writer.write_index()
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any], images: Mapping[str, int]) -> None:
        """The store in `folder`, which need not exist.

        Args:
            folder: of the store.
            fingerprint: all that decides its contents.
            images: their number in each split.
        """
        self.folder = folder
        self.fingerprint: dict[str, Any] = json.loads(json.dumps(fingerprint))  # as it will be read again
        self._images: dict[Shard, range] = {}
        for split, count in images.items():
            each = max(MIN_SHARD_IMAGES, math.ceil(count / MAX_SHARDS))
            for number, first in enumerate(range(0, count, each)):
                self._images[Shard(folder, split, number)] = range(first, min(first + each, count))
        self._complete: set[Shard] = set()
        self._locks: dict[Shard, BaseFileLock] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        """Nothing is claimed yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """What is claimed and not written is for others to claim."""
        for lock in self._locks.values():
            lock.release()

    def images(self, shard: Shard) -> range:
        """The numbers in the split of the images of a shard."""
        return self._images[shard]

    def missing(self, split: str) -> list[Shard]:
        """The shards of the split that are not complete."""
        return [shard for shard in self._images if shard.split == split and not self._is_complete(shard)]

    def claims(self, split: str) -> Iterator[Shard]:
        """The missing shards that no other process is making, each when it is asked for and then for this one alone."""
        self._write_unless_there(FINGERPRINT, self.fingerprint)
        for shard in self.missing(split):
            lock = FileLock(shard.lock, blocking=False)
            try:
                lock.acquire()
            except Timeout:
                continue
            self._locks[shard] = lock
            if self._is_complete(shard):  # by another process, a moment ago
                self._give_back(shard)
                continue
            remove_temporaries(shard.file, shard.sidecar)
            yield shard

    def write(self, shard: Shard, images: Sequence[ImageSamples]) -> None:
        """Write a claimed shard: the samples of its images, in their order."""
        shard.write(images, self.fingerprint)
        self._give_back(shard)

    def write_index(self) -> None:
        """Write the index, when nothing is missing; raises HypercolumnsError if a split has no samples."""
        splits: dict[str, list[dict[str, Any]]] = {}
        for shard in self._images:
            splits.setdefault(shard.split, []).append(shard.index_entry())
        for split, entries in splits.items():
            if not sum(entry["rows"] for entry in entries):
                raise HypercolumnsError(f"no samples of the {split} split: all pixels of its masks are void (255)")
        index = {"format": FORMAT, "fingerprint": self.fingerprint, "splits": splits}
        self._write_unless_there(FINGERPRINT, self.fingerprint)
        self._write_unless_there(INDEX, index)

    def clear(self) -> None:
        """Remove the shards and the index that are there, of this store or another, and no other files.

        Raises StoreInUseError if another process is making a shard. One that is between two shards is not seen: it
        makes again what it finds missing.
        """
        for lock in self.folder.glob(".*.lock"):
            try:
                with FileLock(lock, blocking=False):
                    pass
            except Timeout:
                raise StoreInUseError(f"another process is writing to {self.folder}; wait for it or stop it") from None
        write_json(self.folder / FINGERPRINT, self.fingerprint)  # from here on it is this one, unfinished
        (self.folder / INDEX).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if OWN_FILE.fullmatch(path.name) and path.name != FINGERPRINT:
                remove(path)
        self._complete.clear()

    def _is_complete(self, shard: Shard) -> bool:
        if shard not in self._complete and shard.find_damage(self.fingerprint) is None:
            self._complete.add(shard)
        return shard in self._complete

    def _give_back(self, shard: Shard) -> None:
        """Let go of a shard that is complete."""
        release_lock(self._locks.pop(shard))

    def _write_unless_there(self, name: str, value: object) -> None:
        """Write a JSON file, if it does not say so already; all processes would write the same."""
        path = self.folder / name
        try:
            there = read_json(path) == value
        except HypercolumnsError:  # it is missing, or damaged
            there = False
        if not there:
            write_json(path, value)
