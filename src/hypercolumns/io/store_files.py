"""Names of those files in a store's folder by which other programs than the store's reader know a store."""

INDEX = "index.json"  # lists all shards; a store without it is unfinished
FINGERPRINT = "fingerprint.json"  # all that decides the content of the store
SIDECARS = "*-?????.json"  # matches the file that describes a shard, and is written after the shard
