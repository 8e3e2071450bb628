"""The writer of stores.

Several processes can write one store at the same time. A process that is started after an interruption continues the
work: it makes only the shards that are missing.
"""

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
from hypercolumns.io.store_files import FINGERPRINT, INDEX
from hypercolumns.store.shard import FORMAT, ImageSamples, Shard

# the names of all files of a store; `StoreWriter.clear` removes these files, except the fingerprint, which it replaces
OWN_FILE = re.compile(r"\.?(index|fingerprint|\w+-\d{5})\.(safetensors|json|lock|.*\.tmp)")
MIN_SHARD_IMAGES = 32  # images per shard, or more if MAX_SHARDS requires this; a killed process loses at most one shard
MAX_SHARDS = 8192  # shards per split, to limit the number of files in a folder and of memory maps in a process


class StoreInUseError(HypercolumnsError):
    """The store can't be removed, because another process is writing to it."""


class StoreWriter:
    """Writer of the missing shards of a store. Several processes can write the same store, each with its own writer.

    The number of images in a split determines which images belong to which shard, and the fingerprint determines the
    content of the shards. It therefore does not matter which process makes a shard. A process locks a shard before it
    makes the shard. When a process ends, the operating system releases its locks.

        with StoreWriter(folder, fingerprint, {"train": 367, "val": 101}) as writer:
            while writer.missing("train"):
                for shard in writer.claims("train"):
                    writer.write(shard, samples_of(writer.images(shard)))
            ...  # the same for "val"
            writer.write_index()

    Args:
        folder: the folder of the store. It is made if it does not exist.
        fingerprint: the fingerprint of the store: all that decides its content, as values that JSON can represent.
        images: the number of images in each split.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any], images: Mapping[str, int]) -> None:
        self.folder = folder
        # JSON turns tuples into lists. After this, the fingerprint can be compared with one that is read from a file.
        self.fingerprint: dict[str, Any] = json.loads(json.dumps(fingerprint))
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
        """Release the locks of the shards that were claimed but not written, so that other processes can claim them."""
        for lock in self._locks.values():
            lock.release()

    def images(self, shard: Shard) -> range:
        """Return the numbers of a shard's images: their positions in the split, from 0."""
        return self._images[shard]

    def total_shards(self) -> int:
        """Return the number of shards that the finished store has, in all splits."""
        return len(self._images)

    def missing(self, split: str) -> list[Shard]:
        """List a split's missing shards, and the shards whose files are damaged or belong to another store."""
        return [shard for shard in self._images if shard.split == split and not self._is_complete(shard)]

    def claims(self, split: str) -> Iterator[Shard]:
        """Yield a split's missing shards one after another, except the shards that another process is making.

        Each shard is locked just before it is yielded. No other process can claim the shard until `write` has written
        it, or until the writer's `with` block ends.
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
        """Write a shard that `claims` yielded, and release its lock.

        `images` holds the samples of each image of the shard, in the order of the images.
        """
        shard.write(images, self.fingerprint)
        self._release(shard)

    def write_index(self) -> None:
        """Write index.json, which finishes the store. All shards of all splits must be complete.

        Raises:
            HypercolumnsError: if a split has no samples.
        """
        splits: dict[str, list[dict[str, Any]]] = {}
        for shard in self._images:
            splits.setdefault(shard.split, []).append(shard.index_entry())
        for split, entries in splits.items():
            if not sum(entry["rows"] for entry in entries):
                raise HypercolumnsError(
                    f"the store has no samples of the {split} split: all pixels of its masks are void (255); "
                    f"label some pixels"
                )
        index = {"format": FORMAT, "fingerprint": self.fingerprint, "splits": splits}
        self._write_if_changed(FINGERPRINT, self.fingerprint)
        self._write_if_changed(INDEX, index)

    def clear(self) -> None:
        """Remove all shards, sidecars and the index from the folder, even if they belong to another store.

        The folder then holds an unfinished store with the fingerprint of this writer. Files that do not belong to a
        store stay. A process holds no lock between two shards. The method does not notice a process at such a moment,
        and the process then goes on writing shards.

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
        # The fingerprint is written first: if the removal is interrupted, the folder holds an unfinished store of this
        # fingerprint.
        write_json(self.folder / FINGERPRINT, self.fingerprint)
        (self.folder / INDEX).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if OWN_FILE.fullmatch(path.name) and path.name != FINGERPRINT:
                remove(path)
        self._complete.clear()

    def _is_complete(self, shard: Shard) -> bool:
        """Whether a shard is complete on disk. A shard that was found complete once is not checked again."""
        if shard not in self._complete and shard.find_damage(self.fingerprint) is None:
            self._complete.add(shard)
        return shard in self._complete

    def _release(self, shard: Shard) -> None:
        """Release the lock of a shard that this writer claimed and that is complete now."""
        release_lock(self._locks.pop(shard))

    def _write_if_changed(self, name: str, value: object) -> None:
        """Write a value to a JSON file in the store's folder, unless the file already holds this value.

        All processes that write the store write the same value, so it is enough if one process writes it.
        """
        path = self.folder / name
        try:
            is_written = read_json(path) == value
        except HypercolumnsError:  # the file is missing or damaged
            is_written = False
        if not is_written:
            write_json(path, value)
