"""Sampled hypercolumns on disk.

A store is a folder. Each split of the images is divided into shards of consecutive images. A shard is a safetensors
file with a JSON sidecar. The sidecar describes the shard's content, and holds the store's fingerprint. `index.json`
lists all shards. A sidecar is written after its shard, and the index after all sidecars. A shard without a sidecar
therefore counts as missing, and a store without an index as unfinished. A complete shard is never written again.

Shapes: N samples, D channels, I images.
"""

from hypercolumns.store.integrity import find_damage
from hypercolumns.store.reader import Samples, SampleStore, Split, fingerprint_of
from hypercolumns.store.shard import INDEX, REPAIR, ImageSamples, Shard
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
