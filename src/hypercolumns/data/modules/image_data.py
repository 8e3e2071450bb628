"""Images with masks: the dataset and its Lightning data module."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from hypercolumns.coordinates import full_image_box
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, read_example
from hypercolumns.data.modules.resumable import ResumableDataModule
from hypercolumns.data.transforms import Augmentation, resize_mask
from hypercolumns.errors import HypercolumnsError, check_int
from hypercolumns.labels import IGNORE_INDEX, Palette
from hypercolumns.runtime import randomness
from hypercolumns.runtime.signals import ignore_signals_in_worker


class Example(NamedTuple):
    """An image (3, H, W) float in [0, 1], its mask (H, W) int64, 255 for void, and its box (4,), see `coordinates`."""

    image: Tensor
    mask: Tensor
    id: str
    box: Tensor


class Batch(NamedTuple):
    """Images (B, 3, H, W) float in [0, 1] and masks (B, H, W) int64 of one size, and their boxes (B, 4)."""

    images: Tensor
    masks: Tensor
    ids: list[str]
    boxes: Tensor


@dataclass(frozen=True)
class Filler:
    """The index of an image that fills a step of a process without images of its own, and counts for nothing."""

    index: int


class ImageDataset(Dataset[Example]):
    """The examples of some pairs; augmented ones differ from epoch to epoch, by (seed, epoch, id) alone."""

    def __init__(
        self,
        pairs: Sequence[ImageMaskPair],
        palette: Palette,
        classes: int,
        resize: tuple[int, int] | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        """The pairs' examples, image and mask squeezed to `resize` (height, width) if that is given."""
        self.pairs, self.palette, self.classes = pairs, palette, classes
        self.resize, self.augmentation, self.seed, self.epoch = resize, augmentation, seed, epoch

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.pairs)

    def __getitem__(self, item: int | Filler) -> Example:
        """Read one; of a filler the image alone, all void and without id.

        Raises HypercolumnsError if its files can't be used.
        """
        pair = self.pairs[item.index if isinstance(item, Filler) else item]
        image, mask = read_example(pair, self.palette, self.classes)
        if self.resize is not None:
            image = v2.functional.resize(image, list(self.resize), antialias=True)
            mask = resize_mask(mask, self.resize)
        box = full_image_box(image.shape[-2:])[0]
        if self.augmentation is not None:
            image, mask, box = self.augmentation(image, mask, randomness.derive_seed(self.seed, self.epoch, pair.id))
        if isinstance(item, Filler):
            return Example(image.float() / 255, torch.full(mask.shape, IGNORE_INDEX), "", box)
        return Example(image.float() / 255, mask.long(), pair.id, box)


class ImageBatchSampler(Sampler[Any]):
    """The images of the steps of an epoch, or what one of several processes takes of each step.

    Where a step has fewer images than there are processes, those left without take a `Filler`: all must take part in
    every step.
    """

    def __init__(self, order: Sequence[int], batch_size: int, rank: int = 0, processes: int = 1, done: int = 0) -> None:
        """Say which.

        Args:
            order: of the images of the epoch.
            batch_size: the most images of a step, of all processes together.
            rank: of this process.
            processes: how many there are.
            done: steps at the start that are left out, for they were taken before an interruption.
        """
        self.order, self.batch_size, self.rank, self.processes, self.done = order, batch_size, rank, processes, done

    def __len__(self) -> int:
        """The number of steps of the whole epoch."""
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[list[int | Filler]]:
        """The images of each step."""
        for start in range(self.done * self.batch_size, len(self.order), self.batch_size):
            step = self.order[start : start + self.batch_size]
            first, last = (len(step) * number // self.processes for number in (self.rank, self.rank + 1))
            yield [*step[first:last]] or [Filler(step[0])]


class ImageDataModule(ResumableDataModule):
    """Batches of training images of one size, and whole validation images one at a time.

    Several processes share them.
    """

    def __init__(
        self,
        image_set: DatasetIndex,
        batch_size: int = 4,
        num_workers: int = 0,
        resize: tuple[int, int] | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        """Say how.

        Args:
            image_set: the images.
            batch_size: images a training step, of all processes together; above 1 they must have one size, by `resize`
                or a crop.
            num_workers: processes that read; 0 reads in this one.
            resize: (height, width) that training images are squeezed to; validation images keep their own size.
            augmentation: of the training images.
            seed: of order and augmentation.
        """
        super().__init__()
        check_int("batch_size", batch_size, minimum=1)
        check_int("num_workers", num_workers, minimum=0)
        self.image_set, self.batch_size, self.num_workers = image_set, batch_size, num_workers
        self.resize, self.augmentation, self.seed = resize, augmentation, seed

    def dataset(self, split: str) -> ImageDataset:
        """The examples of a split as they are, but for `resize`."""
        return ImageDataset(
            self.image_set.splits[split], self.image_set.palette, len(self.image_set.classes), resize=self.resize
        )

    def augmented(self, split: str, epoch: int) -> ImageDataset:
        """The examples of a split, augmented as in that epoch."""
        dataset = self.dataset(split)
        dataset.augmentation, dataset.seed, dataset.epoch = self.augmentation, self.seed, epoch
        return dataset

    def train_dataloader(self) -> DataLoader[Example]:
        """The training images of the trainer's epoch; reload it every epoch."""
        epoch, done = self.start
        dataset = self.augmented("train", epoch)
        order = torch.randperm(len(dataset), generator=randomness.generator(self.seed, "order", epoch)).tolist()
        return self._loader(dataset, ImageBatchSampler(order, self.batch_size, *self.share, done))

    def val_dataloader(self) -> DataLoader[Example]:
        """The validation images at their own size, each in one of the processes."""
        dataset = self.dataset("val")
        dataset.resize = None
        rank, processes = self.share
        if processes > len(dataset):
            raise HypercolumnsError(
                f"{processes} processes can't share {len(dataset)} val images; use at most {len(dataset)}"
            )
        return self._loader(dataset, [[index] for index in range(rank, len(dataset), processes)])

    def names(self, batch: Batch, epoch: int, step: int) -> list[str]:
        """See `ResumableDataModule`."""
        return [f"image {id}" for id in batch.ids if id]

    def _loader(self, dataset: ImageDataset, batches: Iterable[list[Any]]) -> DataLoader[Example]:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=collate,
            worker_init_fn=ignore_signals_in_worker,
            pin_memory=torch.cuda.is_available(),
        )


def collate(examples: Sequence[Example]) -> Batch:
    """Examples of one size as a batch; raises HypercolumnsError if their sizes differ."""
    sizes = {tuple(example.mask.shape) for example in examples}
    if len(sizes) > 1:
        raise HypercolumnsError(
            f"images of different sizes ({', '.join(f'{w}x{h}' for h, w in sorted(sizes)[:3])}) can't be one batch; "
            f"crop or resize them, or use batches of one image"
        )
    return Batch(
        torch.stack([example.image for example in examples]),
        torch.stack([example.mask for example in examples]),
        [example.id for example in examples],
        torch.stack([example.box for example in examples]),
    )
