"""Integrity check of a store."""

from collections.abc import Callable, Iterable
from pathlib import Path

from hypercolumns.io.files import file_hash
from hypercolumns.store.reader import SampleStore, fingerprint_of
from hypercolumns.store.shard import FINGERPRINT, INDEX, Shard

Track = Callable[[Iterable[Shard]], Iterable[Shard]]


def find_damage(folder: Path, track: Track = iter) -> list[str]:
    """Read every byte of a finished store and list the damage.

    The fingerprint, every sidecar and the sha256 of every shard are compared with the index, and the size of every
    shard with its sidecar.

    Args:
        folder: the folder of the store.
        track: a function that wraps an iterable of the shards, for example to show the progress.

    Returns:
        A description of each damage, at most one for each shard of the index; an empty list for an intact store.

    Raises:
        StoreError: if the folder does not contain a finished store.
    """
    store = SampleStore(folder)
    entries = {
        Shard(folder, split, number): entry
        for split, split_entries in store.index_entries.items()
        for number, entry in enumerate(split_entries)
    }
    listed = {shard.sidecar.name for shard in entries}
    damages = [
        f"{path.name} is not listed in {INDEX}"
        for path in sorted(folder.glob("*-?????.json"))
        if path.name not in listed
    ]
    if fingerprint_of(folder) != store.fingerprint:
        damages.append(f"{FINGERPRINT} does not agree with {INDEX}")
    for shard in track(list(entries)):
        damage = shard.find_damage(store.fingerprint)
        if damage is None and shard.index_entry() != entries[shard]:
            damage = f"{shard.sidecar.name} does not agree with {INDEX}"
        if damage is None and file_hash(shard.file) != entries[shard]["sha256"]:
            damage = f"{shard.file.name} has changed since it was written: its sha256 is not the one in {INDEX}"
        if damage is not None:
            damages.append(damage)
    return damages
