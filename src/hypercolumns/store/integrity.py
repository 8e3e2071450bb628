"""Whether a store is as it was written."""

from collections.abc import Callable, Iterable
from pathlib import Path

from hypercolumns.io.files import file_hash
from hypercolumns.store.reader import SampleStore, fingerprint_of
from hypercolumns.store.shard import FINGERPRINT, INDEX, Shard

Track = Callable[[Iterable[Shard]], Iterable[Shard]]


def find_damage(folder: Path, track: Track = iter) -> list[str]:
    """Read every byte of a finished store; returns what is wrong, one entry a damaged shard, none if nothing is.

    The index is held against the sidecars, and the sidecars against the shards: by the fingerprint, the size and the
    sha256 of each. `track` may show the progress. Raises StoreError if there is no finished store.
    """
    store = SampleStore(folder)
    entries = {
        Shard(folder, split, number): entry
        for split, of_split in store.index_entries.items()
        for number, entry in enumerate(of_split)
    }
    listed = {shard.sidecar.name for shard in entries}
    found = [
        f"{path.name} is not in {INDEX}" for path in sorted(folder.glob("*-?????.json")) if path.name not in listed
    ]
    if fingerprint_of(folder) != store.fingerprint:
        found.append(f"{FINGERPRINT} does not agree with {INDEX}")
    for shard in track(list(entries)):
        damage = shard.find_damage(store.fingerprint)
        if damage is None and shard.index_entry() != entries[shard]:
            damage = f"{shard.sidecar.name} does not agree with the index"
        if damage is None and file_hash(shard.file) != entries[shard]["sha256"]:
            damage = f"{shard.file.name} has changed since it was written (its sha256 differs)"
        if damage is not None:
            found.append(damage)
    return found
