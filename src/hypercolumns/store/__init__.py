"""Sampled hypercolumns on disk.

A store is a folder. Each split of the images is cut into shards of consecutive images; a shard is a safetensors file
and beside it a JSON sidecar, which says what is in it and what it was made from; `index.json` lists them all. The
sidecar is written after its shard and the index after all of them: a shard without its sidecar does not exist, a store
without its index is unfinished. What is complete is never written again.

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
