"""One shard of a store: write, read and check its two files, a safetensors file and a JSON sidecar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hypercolumns.errors import HypercolumnsError, StoreError
from hypercolumns.io.files import file_hash, read_json, short_hash, write_json
from hypercolumns.io.tensors import save_tensors

FORMAT = 1  # version of the format of stores
REPAIR = "remove the shard and its sidecar (.json), and write the store again: only missing shards are made"
Fingerprint = Mapping[str, Any]
ARRAYS = {  # name of a tensor in the safetensors file -> its dtype
    "features": torch.float16,
    "labels": torch.uint8,
    "images": torch.int32,
    "positions": torch.int32,
    "sizes": torch.int32,
    "sums": torch.float64,
    "squares": torch.float64,
}
SIDECAR = {  # name of a field in the sidecar -> its type
    "shard": str,
    "rows": int,
    "channels": int,
    "dtype": str,
    "samples_per_class": list,
    "bytes": int,
    "sha256": str,
    "images": list,
    "fingerprint": dict,
}


class ImageSamples(NamedTuple):
    """The samples of one image.

    Attributes:
        id: the image's id.
        size: the (height, width) of the image in pixels. If the image was resized before sampling, the resized size.
        positions: (N, 2) integers, the row and column of each sample's pixel in the image of this size, from 0.
        labels: (N,) integers, the class index of each sample.
        features: (N, D) floating-point numbers, the hypercolumn of each sample.
    """

    id: str
    size: tuple[int, int]
    positions: Tensor
    labels: Tensor
    features: Tensor


@dataclass(frozen=True)
class Shard:
    """A shard of a store. Its files need not exist yet.

    Attributes:
        folder: the folder of the store.
        split: the name of the split that the shard belongs to.
        number: the number of the shard within the split, from 0.
    """

    folder: Path
    split: str
    number: int

    @property
    def name(self) -> str:
        """The name of the shard's files without suffix, such as `train-00003`."""
        return f"{self.split}-{self.number:05d}"

    @property
    def file(self) -> Path:
        """The path of the safetensors file, which holds the samples of the shard."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def sidecar(self) -> Path:
        """The path of the sidecar: the JSON file that describes the shard."""
        return self.folder / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        """The path of the shard's lock file. A process locks this file while it makes the shard."""
        return self.folder / f".{self.name}.lock"

    def write(self, images: Sequence[ImageSamples], fingerprint: Fingerprint) -> None:
        """Write the shard: first the safetensors file, then the sidecar.

        Args:
            images: the samples of all images of the shard, in the order of the images.
            fingerprint: the fingerprint of the store.
        """
        features = torch.cat([image.features.half() for image in images])
        labels = torch.cat([image.labels for image in images]).to(torch.uint8)
        counts = torch.tensor([len(image.labels) for image in images])
        tensors = {
            "features": features,
            "labels": labels,
            "images": torch.repeat_interleave(torch.arange(len(images)), counts).to(torch.int32),
            "positions": torch.cat([image.positions for image in images]).to(torch.int32),
            "sizes": torch.tensor([image.size for image in images], dtype=torch.int32),
            "sums": sum(rows.double().sum(0) for rows in features.split(counts.tolist())),
            "squares": sum(rows.double().square().sum(0) for rows in features.split(counts.tolist())),
        }
        save_tensors(self.file, tensors, self._header(fingerprint))
        sidecar = {
            "shard": self.name,
            "rows": len(features),
            "channels": features.shape[1],
            "dtype": "float16",
            "samples_per_class": labels.bincount().tolist(),
            "bytes": self.file.stat().st_size,
            "sha256": file_hash(self.file),
            "images": [image.id for image in images],
            "fingerprint": dict(fingerprint),
        }
        write_json(self.sidecar, sidecar)

    def load(self, fingerprint: Fingerprint) -> dict[str, Tensor]:
        """Map the tensors of the shard's safetensors file into memory.

        Args:
            fingerprint: the fingerprint of the store.

        Returns:
            The tensors by name. For each sample: `features` (N, D) float16, the hypercolumn; `labels` (N,) uint8, the
            class index; `images` (N,) int32, the number of its image within the shard, from 0; `positions` (N, 2)
            int32, the row and column of its pixel. For each image: `sizes` (I, 2) int32, its height and width in
            pixels. For each channel: `sums` and `squares` (D,) float64, the sums of the features and of their squares
            over the samples of the shard.

        Raises:
            StoreError: if the file can't be read, is damaged, or belongs to another store or to another shard.
        """
        try:
            with safe_open(self.file, framework="pt") as file:
                if file.metadata() != self._header(fingerprint):
                    raise StoreError(f"{self.file} belongs to another store or another shard; {REPAIR}")
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{self.file} can't be read ({error}); {REPAIR}") from error
        if not _is_shard(tensors):
            raise self.damage_error("its tensors do not have the names, types and shapes of a shard")
        return tensors

    def damage_error(self, damage: str) -> StoreError:
        """Return the error for a shard whose content is invalid. `damage` says what is wrong, as a clause."""
        return StoreError(f"{self.file} is damaged ({damage}); {REPAIR}")

    def ids(self) -> list[str]:
        """Read the ids of the shard's images from the sidecar, in the order of the images.

        Raises:
            StoreError: if the sidecar does not contain a list of ids.
            HypercolumnsError: if the sidecar can't be read as JSON.
        """
        images = read_json(self.sidecar).get("images")
        if not isinstance(images, list) or not all(isinstance(id, str) for id in images):
            raise StoreError(f"{self.sidecar} is damaged (it lists no images); {REPAIR}")
        return images

    def find_damage(self, fingerprint: Fingerprint) -> str | None:
        """Describe what is wrong with the shard's files; return None if nothing is wrong.

        The method reads the sidecar, and compares the fingerprint in it with `fingerprint`, the store's fingerprint. It
        does not read the safetensors file. It compares only the size of this file with the size in the sidecar.
        """
        if not self.sidecar.is_file():
            return f"{self.sidecar.name} is missing"
        try:
            sidecar = read_json(self.sidecar)
        except HypercolumnsError:
            return f"{self.sidecar.name} can't be read"
        if not all(isinstance(sidecar.get(name), kind) for name, kind in SIDECAR.items()):
            return f"{self.sidecar.name} lacks one of the fields {', '.join(SIDECAR)}, or one of them has a wrong type"
        if sidecar["shard"] != self.name:
            return f"{self.sidecar.name} is the sidecar of {sidecar['shard']}"
        if sidecar["fingerprint"] != fingerprint:
            return f"{self.sidecar.name} belongs to another store"
        if not self.file.is_file():
            return f"{self.file.name} is missing"
        size = self.file.stat().st_size
        return (
            None
            if size == sidecar["bytes"]
            else f"{self.file.name} has {size} bytes, not the {sidecar['bytes']} listed in its sidecar"
        )

    def index_entry(self) -> dict[str, Any]:
        """Return the description of the shard for index.json.

        The description holds the fields of the sidecar, except `images` and `fingerprint`. It also holds the sha256 of
        the sidecar, as `sidecar_sha256`.
        """
        sidecar = read_json(self.sidecar)
        fields = {name: value for name, value in sidecar.items() if name not in ("images", "fingerprint")}
        return fields | {"sidecar_sha256": file_hash(self.sidecar)}

    def _header(self, fingerprint: Fingerprint) -> dict[str, str]:
        """Return the metadata of the safetensors file: one entry, which identifies the store and the shard.

        The entry holds a hash of the fingerprint, and the name of the shard. Safetensors writes several entries in
        random order. With a single entry, the same shard always has the same bytes.
        """
        return {"hypercolumns": f"{short_hash(fingerprint)} {self.name}"}


def _is_shard(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names, dtypes and shapes that the tensors of a shard must have."""
    if {name: tensor.dtype for name, tensor in tensors.items()} != ARRAYS or tensors["features"].ndim != 2:
        return False
    (rows, channels), images = tensors["features"].shape, len(tensors["sizes"])
    shapes = {"labels": (rows,), "images": (rows,), "positions": (rows, 2), "sizes": (images, 2)}
    shapes |= {"sums": (channels,), "squares": (channels,)}
    return all(tensors[name].shape == shape for name, shape in shapes.items())
