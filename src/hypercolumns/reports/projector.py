"""Some samples of a store for TensorBoard's projector, each with a picture of where it was taken.

They lie in `embedding/` in the store's folder: what it writes is a view, which nothing else reads.
"""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms import v2

from hypercolumns.data import DatasetIndex
from hypercolumns.data.index import read_example
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import release_lock
from hypercolumns.models.classifiers import standardize
from hypercolumns.runtime import randomness
from hypercolumns.runtime.progress import track
from hypercolumns.samplers.quotas import allocate_evenly
from hypercolumns.store import SampleStore, Split

FOLDER = "embedding"
THUMBNAIL_SIDE = 48  # of a thumbnail, in pixels; 1,000 of them make a sprite of 1536x1536
BORDER = 3  # of a thumbnail, in the colour of the class
SURROUNDINGS = 6  # a thumbnail shows a sixth of the image's shorter side


def write_projector(
    store: SampleStore,
    images: DatasetIndex,
    count: int,
    seed: int,
    resize: tuple[int, int] | None,
    remedy: str = "free some space",
) -> None:
    """Write a view of some training samples, as many of each class as can be, unless it is there already.

    The features are standardised by the mean and standard deviation of all training samples, as the classifier sees
    them.

    Args:
        store: the samples.
        images: what they were taken from, for the thumbnails.
        count: how many samples are shown.
        seed: decides which ones.
        resize: (height, width) of the images that the positions of the samples are in; None for their own.
        remedy: what the message tells people to do if the view can't be written.

    Raises:
        HypercolumnsError: if the view can't be written.
    """
    split = store.split("train")
    folder, points = store.folder / FOLDER, sum(allocate_evenly(split.counts.sum(0).tolist(), count))
    if _points(folder) == points:
        return
    lock = FileLock(store.folder / f".{FOLDER}.lock")
    with lock:
        if _points(folder) != points:  # nor has another process written it meanwhile
            remove_projector(store.folder)
            temporary = store.folder / f".{FOLDER}.tmp"
            try:
                _write(temporary, split, choose_rows(split, count, seed), images, resize)
                temporary.rename(folder)
            except OSError as error:
                shutil.rmtree(temporary, ignore_errors=True)
                raise HypercolumnsError(
                    f"{folder} can't be written ({error}); the samples are all there, it only shows some of them: "
                    f"{remedy}"
                ) from error
        release_lock(lock)


def _write(folder: Path, split: Split, rows: Tensor, images: DatasetIndex, resize: tuple[int, int] | None) -> None:
    """Write a view of these rows to a new folder."""
    mean, std = split.statistics()
    features, labels, _ = split.fetch(rows)
    rounded = standardize(features.double(), mean, std).numpy().round(4)
    pairs = {pair.id: pair for pair in images.splits["train"]}
    thumbnails, metadata = [], []
    current, image = None, torch.empty(0)
    for (id, row, column), label in track(list(zip(split.origins(rows), labels.tolist(), strict=True)), "embedding"):
        if id != current:
            current, pair = id, pairs[id]
            image, _ = read_example(pair, images.palette, len(images.classes))
            if resize is not None:
                image = v2.functional.resize(image, list(resize), antialias=True)
        thumbnails.append(thumbnail(image, row, column, images.palette[label]))
        metadata.append([_field(images.classes[label]), _field(id), row, column])
    header = ["class", "image", "row", "column"]
    with SummaryWriter(str(folder)) as writer:
        writer.add_embedding(rounded, metadata, torch.stack(thumbnails), tag="samples", metadata_header=header)


def remove_projector(folder: Path) -> None:
    """Remove the view of the store in a folder, if there is one, whole or begun."""
    temporary = folder / f".{FOLDER}.tmp"
    if temporary.is_dir():
        shutil.rmtree(temporary)
    if (folder / FOLDER).is_dir():
        (folder / FOLDER).rename(temporary)  # so that a half of it never passes for a view
        shutil.rmtree(temporary)


def choose_rows(split: Split, count: int, seed: int) -> Tensor:
    """`count` rows of the split, ascending: as many of each class as can be, at random within a class; all if fewer."""
    chosen = []
    for label, quota in enumerate(allocate_evenly(split.counts.sum(0).tolist(), count)):
        before = torch.cat([torch.zeros(1, dtype=torch.int64), split.counts[:, label].cumsum(0)])
        chance = random.Random(randomness.derive_seed(seed, "embedding", label))
        which = torch.tensor(sorted(chance.sample(range(int(before[-1])), quota)), dtype=torch.int64)
        for number in (torch.searchsorted(before, which, right=True) - 1).unique().tolist():
            here = which[(which >= before[number]) & (which < before[number + 1])] - before[number]
            of_class = (split.tensors(number)["labels"] == label).nonzero()[:, 0]
            chosen.append(split.start(number) + of_class[here])
    return torch.cat(chosen).sort().values


def thumbnail(image: Tensor, row: int, column: int, border: Sequence[int]) -> Tensor:
    """The surroundings of a pixel of an image (3, H, W) uint8, framed in a colour, as (3, S, S) in [0, 1]."""
    half = max(THUMBNAIL_SIDE, min(image.shape[1:]) // SURROUNDINGS) // 2
    rows = torch.arange(row - half, row + half).clamp(0, image.shape[1] - 1)
    columns = torch.arange(column - half, column + half).clamp(0, image.shape[2] - 1)
    picture = (
        v2.functional.resize(image[:, rows][:, :, columns], [THUMBNAIL_SIDE, THUMBNAIL_SIDE], antialias=True).float()
        / 255
    )
    framed = (torch.tensor(border).float() / 255)[:, None, None].repeat(1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    framed[:, BORDER:-BORDER, BORDER:-BORDER] = picture[:, BORDER:-BORDER, BORDER:-BORDER]
    return framed


def _points(folder: Path) -> int | None:
    """How many samples the view in a folder shows, if there is one."""
    found = list(folder.glob("*/*/metadata.tsv"))
    return len(found[0].read_text(encoding="utf-8").splitlines()) - 1 if found else None


def _field(text: str) -> str:
    """A name, as a field of a table of tab-separated values."""
    return " ".join(text.split())
