"""The writer of stores. Several processes may write one store together, and a restarted process continues its work."""

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

# files that `StoreWriter.clear` removes
OWN_FILE = re.compile(r"\.?(index|fingerprint|\w+-\d{5})\.(safetensors|json|lock|.*\.tmp)")
MIN_SHARD_IMAGES = 32  # images per shard, or more in very large splits; a killed process loses at most one shard
MAX_SHARDS = 8192  # per split; limits the number of files in a folder and of memory maps in a process


class StoreInUseError(HypercolumnsError):
    """The store can't be removed, because another process is writing to it."""


class StoreWriter:
    """Writer of a store's missing shards, alone or together with other processes.

    The number of images in a split determines which of them belong to each shard, and the fingerprint determines the
    content of the shards. It therefore does not matter which process makes a shard. Processes share the work by locks.
    When a process ends, the operating system releases its locks.

        with StoreWriter(folder, fingerprint, {"train": 367, "val": 101}) as writer:
            while writer.missing("train"):
                for shard in writer.claims("train"):
                    writer.write(shard, samples_of(writer.images(shard)))
            ...  # the same for "val"
            writer.write_index()

    Args:
        folder: the folder of the store. It is made if it does not exist.
        fingerprint: everything that determines the store's content, as values that JSON can represent.
        images: the number of images in each split.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any], images: Mapping[str, int]) -> None:
        self.folder = folder
        self.fingerprint: dict[str, Any] = json.loads(
            json.dumps(fingerprint)
        )  # as read back from JSON, which turns tuples into lists
        self._images: dict[Shard, range] = {}
        for split, count in images.items():
            each = max(MIN_SHARD_IMAGES, math.ceil(count / MAX_SHARDS))
            for number, first in enumerate(range(0, count, each)):
                self._images[Shard(folder, split, number)] = range(first, min(first + each, count))
        self._complete: set[Shard] = set()
        self._locks: dict[Shard, BaseFileLock] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the shards that were claimed but not written, so that other processes can claim them."""
        for lock in self._locks.values():
            lock.release()

    def images(self, shard: Shard) -> range:
        """Return the numbers of a shard's images within the split, from 0."""
        return self._images[shard]

    def missing(self, split: str) -> list[Shard]:
        """List the shards of a split that no process has completed yet."""
        return [shard for shard in self._images if shard.split == split and not self._is_complete(shard)]

    def claims(self, split: str) -> Iterator[Shard]:
        """Claim and yield the missing shards that no other process is making, one after another.

        Each shard is locked just before it is yielded. No other process can claim it until `write` has written it, or
        the `with` block ends.
        """
        self._write_if_changed(FINGERPRINT, self.fingerprint)
        for shard in self.missing(split):
            lock = FileLock(shard.lock, blocking=False)
            try:
                lock.acquire()
            except Timeout:
                continue
            self._locks[shard] = lock
            if self._is_complete(shard):  # another process has completed the shard in the meantime
                self._release(shard)
                continue
            remove_temporaries(shard.file, shard.sidecar)
            yield shard

    def write(self, shard: Shard, images: Sequence[ImageSamples]) -> None:
        """Write a claimed shard from the samples of its images, in order, and release its lock."""
        shard.write(images, self.fingerprint)
        self._release(shard)

    def write_index(self) -> None:
        """Write the index. All shards must be complete.

        Raises:
            HypercolumnsError: if a split has no samples.
        """
        splits: dict[str, list[dict[str, Any]]] = {}
        for shard in self._images:
            splits.setdefault(shard.split, []).append(shard.index_entry())
        for split, entries in splits.items():
            if not sum(entry["rows"] for entry in entries):
                raise HypercolumnsError(
                    f"no samples of the {split} split: all pixels of its masks are void (255); label some of them"
                )
        index = {"format": FORMAT, "fingerprint": self.fingerprint, "splits": splits}
        self._write_if_changed(FINGERPRINT, self.fingerprint)
        self._write_if_changed(INDEX, index)

    def clear(self) -> None:
        """Remove all files of a store from the folder, whatever the store's fingerprint. Other files stay.

        A process that is between two shards holds no lock and goes unnoticed. It continues to write shards.

        Raises:
            StoreInUseError: if another process is making a shard.
        """
        for lock in self.folder.glob(".*.lock"):
            try:
                with FileLock(lock, blocking=False):
                    pass
            except Timeout:
                raise StoreInUseError(
                    f"another process is writing to {self.folder}; wait until it ends, or stop it"
                ) from None
        # The fingerprint is written first: if the removal is interrupted, the folder holds this store, unfinished.
        write_json(self.folder / FINGERPRINT, self.fingerprint)
        (self.folder / INDEX).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if OWN_FILE.fullmatch(path.name) and path.name != FINGERPRINT:
                remove(path)
        self._complete.clear()

    def _is_complete(self, shard: Shard) -> bool:
        if shard not in self._complete and shard.find_damage(self.fingerprint) is None:
            self._complete.add(shard)
        return shard in self._complete

    def _release(self, shard: Shard) -> None:
        """Release the lock of a complete shard."""
        release_lock(self._locks.pop(shard))

    def _write_if_changed(self, name: str, value: object) -> None:
        """Write a JSON file unless it already holds the value, which is the same in all processes."""
        path = self.folder / name
        try:
            is_written = read_json(path) == value
        except HypercolumnsError:  # the file is missing or damaged
            is_written = False
        if not is_written:
            write_json(path, value)
