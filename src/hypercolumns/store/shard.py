"""One shard of a store: its files, and what may be wrong with them."""

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

INDEX = "index.json"
FINGERPRINT = "fingerprint.json"
FORMAT = 1
REPAIR = "remove the shard and its sidecar (.json) and write the store again, which makes only what is missing"
Fingerprint = Mapping[str, Any]
ARRAYS = {
    "features": torch.float16,
    "labels": torch.uint8,
    "images": torch.int32,
    "positions": torch.int32,
    "sizes": torch.int32,
    "sums": torch.float64,
    "squares": torch.float64,
}
SIDECAR = {  # what it says, and of which type
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
        id: of the image.
        size: (height, width) of the image that the positions refer to.
        positions: (N, 2) row and column.
        labels: (N,) class indices.
        features: (N, D) hypercolumns.
    """

    id: str
    size: tuple[int, int]
    positions: Tensor
    labels: Tensor
    features: Tensor


@dataclass(frozen=True)
class Shard:
    """Shard `number` of a split of the store in `folder`."""

    folder: Path
    split: str
    number: int

    @property
    def name(self) -> str:
        """What its files are called, without suffix."""
        return f"{self.split}-{self.number:05d}"

    @property
    def file(self) -> Path:
        """The safetensors file."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def sidecar(self) -> Path:
        """The JSON file that says what is in it."""
        return self.folder / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        """The file that the process that makes the shard holds locked."""
        return self.folder / f".{self.name}.lock"

    def write(self, images: Sequence[ImageSamples], fingerprint: Fingerprint) -> None:
        """Write the samples of these images, in their order, then the sidecar."""
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
        """Its tensors as memory maps; raises StoreError if it can't be read or is not this one.

        features (N, D) float16, labels (N,) uint8, images (N,) int32: the number of each sample's image in the shard,
        positions (N, 2) int32: row and column, sizes (I, 2) int32: height and width, sums and squares (D,) float64: of
        the features and of their squares.
        """
        try:
            with safe_open(self.file, framework="pt") as file:
                if file.metadata() != self._header(fingerprint):
                    raise StoreError(f"{self.file} belongs to another store or another place in it; {REPAIR}")
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{self.file} can't be read ({error}); {REPAIR}") from error
        if not _is_shard(tensors):
            raise self.damage_error("its arrays are not those of a shard")
        return tensors

    def damage_error(self, damage: str) -> StoreError:
        """The error for contents that can't be."""
        return StoreError(f"{self.file} is damaged ({damage}); {REPAIR}")

    def ids(self) -> list[str]:
        """Those of its images, in order; raises StoreError if the sidecar does not hold them."""
        images = read_json(self.sidecar).get("images")
        if not isinstance(images, list) or not all(isinstance(one, str) for one in images):
            raise StoreError(f"{self.sidecar} is damaged (it lists no images); {REPAIR}")
        return images

    def find_damage(self, fingerprint: Fingerprint) -> str | None:
        """What is wrong with it, as far as can be told without reading the samples; None if nothing."""
        if not self.sidecar.is_file():
            return f"{self.sidecar.name} is missing"
        try:
            sidecar = read_json(self.sidecar)
        except HypercolumnsError:
            return f"{self.sidecar.name} can't be read"
        if not all(isinstance(sidecar.get(name), kind) for name, kind in SIDECAR.items()):
            return f"{self.sidecar.name} lacks some of {', '.join(SIDECAR)}"
        if sidecar["shard"] != self.name:
            return f"{self.sidecar.name} is that of {sidecar['shard']}"
        if sidecar["fingerprint"] != fingerprint:
            return f"{self.sidecar.name} belongs to another store"
        if not self.file.is_file():
            return f"{self.file.name} is missing"
        size = self.file.stat().st_size
        return None if size == sidecar["bytes"] else f"{self.file.name} has {size} bytes, not {sidecar['bytes']}"

    def index_entry(self) -> dict[str, Any]:
        """What the index says of it: its sidecar without the images and the fingerprint, and the sidecar's own hash."""
        sidecar = read_json(self.sidecar)
        kept = {name: value for name, value in sidecar.items() if name not in ("images", "fingerprint")}
        return kept | {"sidecar_sha256": file_hash(self.sidecar)}

    def _header(self, fingerprint: Fingerprint) -> dict[str, str]:
        """What the file says of itself: one entry, for safetensors leaves the order of several to chance."""
        return {"hypercolumns": f"{short_hash(fingerprint)} {self.name}"}


def _is_shard(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the arrays of a shard, as far as their types and shapes tell."""
    if {name: tensor.dtype for name, tensor in tensors.items()} != ARRAYS or tensors["features"].ndim != 2:
        return False
    (rows, channels), images = tensors["features"].shape, len(tensors["sizes"])
    shapes = {"labels": (rows,), "images": (rows,), "positions": (rows, 2), "sizes": (images, 2)}
    shapes |= {"sums": (channels,), "squares": (channels,)}
    return all(tensors[name].shape == shape for name, shape in shapes.items())
