"""Sampled hypercolumns on disk: the writer, the reader and the integrity check of stores.

A store is a folder. The images of each split are divided into sets of consecutive images. The samples of a set form a
shard: a safetensors file with a JSON sidecar. The sidecar describes the shard's content, and holds the store's
fingerprint. `fingerprint.json` holds the fingerprint, too. `index.json`, the index, lists all shards of all splits.

A sidecar is written after its shard, and the index after all sidecars. A shard without a sidecar therefore counts as
missing, and a store without an index as unfinished. A complete shard is never written again.

In the shapes of tensors, N is a number of samples, D the number of channels, and I a number of images.
"""

from hypercolumns.io.store_files import INDEX
from hypercolumns.store.integrity import find_damage
from hypercolumns.store.reader import Samples, SampleStore, Split, fingerprint_of
from hypercolumns.store.shard import REPAIR, ImageSamples, Shard
from hypercolumns.store.writer import StoreInUseError, StoreWriter

__all__ = [
    "INDEX",
    "REPAIR",
    "ImageSamples",
    "SampleStore",
    "Samples",
    "Shard",
    "Split",
    "StoreInUseError",
    "StoreWriter",
    "find_damage",
    "fingerprint_of",
]
