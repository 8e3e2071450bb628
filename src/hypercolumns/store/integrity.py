"""The check of a store for damage."""

from collections.abc import Callable, Iterable
from pathlib import Path

from hypercolumns.io.files import file_hash
from hypercolumns.io.store_files import FINGERPRINT, INDEX, SIDECARS
from hypercolumns.store.reader import SampleStore, fingerprint_of
from hypercolumns.store.shard import Shard

Track = Callable[[Iterable[Shard]], Iterable[Shard]]


def find_damage(folder: Path, track: Track = iter) -> list[str]:
    """Check a finished store, and list the damage. Every byte of the store is read.

    index.json lists all shards of the store. The check compares it with fingerprint.json, with each sidecar (the JSON
    file of a shard) and with the sha256 of each shard. The check also compares the size of each shard with the size in
    its sidecar. A sidecar that index.json does not list counts as damage, too.

    Args:
        folder: the folder of the store.
        track: a function that takes the list of all shards and yields them one by one, for example to show the progress
            of the check.

    Returns:
        The descriptions of the damage; [] for an intact store. A listed shard has at most one description, even if both
        of its files are damaged.

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
        f"{path.name} is not listed in {INDEX}" for path in sorted(folder.glob(SIDECARS)) if path.name not in listed
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
