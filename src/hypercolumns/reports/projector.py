"""Show some samples of a store in TensorBoard's projector, each with a thumbnail of the image around the sample.

The projector is a page of TensorBoard that draws each sample as a point. Samples with similar hypercolumns lie close
together. The page reads its files from the folder `embedding/` in the store's folder. This module calls them the
projector's files. No other part of the project reads them.
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
from hypercolumns.models.seen_images import MAX_RESIZED
from hypercolumns.runtime import randomness
from hypercolumns.runtime.progress import track
from hypercolumns.samplers.quotas import allocate_evenly
from hypercolumns.store import SampleStore, Split
from hypercolumns.visualization.overlays import shown_channels

FOLDER = "embedding"
THUMBNAIL_SIDE = 48  # in pixels; all thumbnails are in one picture, with 1536x1536 pixels for 1,000 thumbnails
BORDER = 3  # width of a thumbnail's border in the colour of the class, in pixels
# A thumbnail shows a square of the image. The square's side is 1/6 of the image's shorter side, but at least
# THUMBNAIL_SIDE pixels.
SURROUNDINGS = 6


def write_projector(
    store: SampleStore,
    images: DatasetIndex,
    count: int,
    seed: int,
    resize: tuple[int, int] | None,
    remedy: str = "free some space",
) -> None:
    """Write the projector's files for some training samples, spread evenly over the classes.

    If the store's folder already has projector's files for the same number of samples, the function does nothing. The
    hypercolumns are standardised by the mean and standard deviation of all training samples. The classifier
    standardises them in the same way.

    Args:
        store: the store of samples.
        images: the data set that the samples were taken from. The thumbnails are cut out of its images.
        count: the number of samples to show; if there are fewer training samples, all are shown.
        seed: the seed of the random choice of samples.
        resize: the (height, width) to which the images were resized before the samples were taken; None: the images
            were not resized.
        remedy: advice for the user, for the end of the error message.

    Raises:
        HypercolumnsError: if the files can't be written.
    """
    split = store.split("train")
    folder, points = store.folder / FOLDER, sum(allocate_evenly(split.counts.sum(0).tolist(), count))
    if _points(folder) == points:
        return
    lock = FileLock(store.folder / f".{FOLDER}.lock")
    with lock:
        if _points(folder) != points:  # meanwhile, another process may have written the files
            remove_projector(store.folder)
            temporary = store.folder / f".{FOLDER}.tmp"
            try:
                _write(temporary, split, choose_rows(split, count, seed), images, resize)
                temporary.rename(folder)
            except OSError as error:
                shutil.rmtree(temporary, ignore_errors=True)
                raise HypercolumnsError(
                    f"{folder} can't be written ({error}), so TensorBoard's projector can't show the samples; "
                    f"the samples themselves are complete; {remedy}"
                ) from error
        release_lock(lock)


def _write(folder: Path, split: Split, rows: Tensor, images: DatasetIndex, resize: tuple[int, int] | None) -> None:
    """Write the files of TensorBoard's projector to a new folder: some samples, each with a thumbnail.

    Args:
        folder: the folder to write.
        split: the training samples of the store.
        rows: (N,) int64, the row numbers in `split` of the samples to show.
        images: the data set; the thumbnails are cut out of its train images.
        resize: the (height, width) to which the images are resized before the thumbnails are cut out; None: the images
            are not resized.
    """
    mean, std = split.statistics()
    features, labels, _ = split.fetch(rows)
    rounded = standardize(features.double(), mean, std).numpy().round(4)
    pairs = {pair.id: pair for pair in images.splits["train"]}
    thumbnails, metadata = [], []
    current, image = None, torch.empty(0)
    for (id, row, column), label in track(list(zip(split.origins(rows), labels.tolist(), strict=True)), "embedding"):
        if id != current:
            current, pair = id, pairs[id]
            image = shown_channels(read_example(pair, images.scheme, images.decoding)[0])
            if resize is not None:
                image = resize_image(image, resize)
        thumbnails.append(thumbnail(image, row, column, images.palette[label]))
        metadata.append([_field(images.classes[label]), _field(id), row, column])
    header = ["class", "image", "row", "column"]
    with SummaryWriter(str(folder)) as writer:
        writer.add_embedding(rounded, metadata, torch.stack(thumbnails), tag="samples", metadata_header=header)


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize an image (3, H, W) uint8 to `size` = (height, width), bilinearly with antialiasing.

    Torch resizes rows first. Of a tall strip, this can make an image that is many times larger than the image before
    and after, so the columns of a tall image are resized first.
    """
    if image.shape[1] * size[1] <= max(image[0].numel(), size[0] * size[1], MAX_RESIZED):
        return v2.functional.resize(image, list(size), antialias=True)
    return v2.functional.resize(image.transpose(1, 2), [size[1], size[0]], antialias=True).transpose(1, 2)


def remove_projector(folder: Path) -> None:
    """Delete the projector's files from the folder of a store, even incomplete files; do nothing if there are none."""
    temporary = folder / f".{FOLDER}.tmp"
    if temporary.is_dir():
        shutil.rmtree(temporary)
    if (folder / FOLDER).is_dir():
        (folder / FOLDER).rename(temporary)  # a kill then leaves no incomplete folder of this name
        shutil.rmtree(temporary)


def choose_rows(split: Split, count: int, seed: int) -> Tensor:
    """Choose samples of a split at random, spread evenly over the classes.

    Args:
        split: the samples to choose from.
        count: the number of samples to choose; if the split has fewer samples, all are chosen.
        seed: the seed of the random choice.

    Returns:
        The row numbers of the samples in the split, int64, ascending.
    """
    chosen = []
    for label, quota in enumerate(allocate_evenly(split.counts.sum(0).tolist(), count)):
        before = torch.cat([torch.zeros(1, dtype=torch.int64), split.counts[:, label].cumsum(0)])
        generator = random.Random(randomness.derive_seed(seed, "embedding", label))
        which = torch.tensor(sorted(generator.sample(range(int(before[-1])), quota)), dtype=torch.int64)
        for number in (torch.searchsorted(before, which, right=True) - 1).unique().tolist():
            here = which[(which >= before[number]) & (which < before[number + 1])] - before[number]
            of_class = (split.tensors(number)["labels"] == label).nonzero()[:, 0]
            chosen.append(split.start(number) + of_class[here])
    return torch.cat(chosen).sort().values


def thumbnail(image: Tensor, row: int, column: int, border: Sequence[int]) -> Tensor:
    """Cut a square thumbnail with a coloured border out of an image, with a given pixel in the middle.

    Where the square extends beyond the image, it repeats the nearest pixels of the image.

    Args:
        image: (3, H, W) uint8 RGB.
        row: the row of the pixel.
        column: the column of the pixel.
        border: the colour of the border, three values (R, G, B) from 0 to 255.

    Returns:
        (3, S, S) float in [0, 1], with S = `THUMBNAIL_SIDE`.
    """
    half = max(THUMBNAIL_SIDE, min(image.shape[1:]) // SURROUNDINGS) // 2
    rows = torch.arange(row - half, row + half).clamp(0, image.shape[1] - 1)
    columns = torch.arange(column - half, column + half).clamp(0, image.shape[2] - 1)
    square = image[:, rows[:, None], columns]  # at once: all columns of these rows may be many
    picture = v2.functional.resize(square, [THUMBNAIL_SIDE, THUMBNAIL_SIDE], antialias=True).float() / 255
    framed = (torch.tensor(border).float() / 255)[:, None, None].repeat(1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    framed[:, BORDER:-BORDER, BORDER:-BORDER] = picture[:, BORDER:-BORDER, BORDER:-BORDER]
    return framed


def _points(folder: Path) -> int | None:
    """Return the number of samples in the projector's files, given their folder; None if there are no such files."""
    tables = list(folder.glob("*/*/metadata.tsv"))
    return len(tables[0].read_text(encoding="utf-8").splitlines()) - 1 if tables else None


def _field(text: str) -> str:
    """Make a text valid as a field of a TSV file.

    The field must not contain tabs or line breaks. Therefore, each sequence of whitespace becomes a single space.
    Whitespace at the ends is removed.
    """
    return " ".join(text.split())
