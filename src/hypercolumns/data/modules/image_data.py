"""The dataset and the Lightning data module of images with masks."""

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
    """An image with its mask.

    Attributes:
        image: (3, H, W) float32 in [0, 1].
        mask: (H, W) int64 class indices, 255 for void.
        id: the image's id; empty for a `Filler`.
        box: (4,) float32, the crop box: where the whole image lies, in pixels of `image`, see `coordinates`.
    """

    image: Tensor
    mask: Tensor
    id: str
    box: Tensor


class Batch(NamedTuple):
    """Images of the same size, with their masks.

    Attributes:
        images: (B, 3, H, W) float32 in [0, 1].
        masks: (B, H, W) int64 class indices, 255 for void.
        ids: the images' ids; an empty string for a `Filler`.
        boxes: (B, 4) float32, the crop box of each image, see `coordinates`.
    """

    images: Tensor
    masks: Tensor
    ids: list[str]
    boxes: Tensor


@dataclass(frozen=True)
class Filler:
    """A placeholder for a rank that gets no image in a step: its image is read, but its mask is void.

    Attributes:
        index: the index of the image in the dataset.
    """

    index: int


class ImageDataset(Dataset[Example]):
    """Dataset of images with masks. The augmentation of an example depends on (seed, epoch, id) alone.

    Args:
        pairs: the files of the images and masks.
        palette: the colours of the classes, for masks in colour.
        classes: the number of classes.
        resize: (height, width) that each image and mask is resized to, whatever its aspect ratio; None for no resizing.
        augmentation: the random changes; None for none.
        seed: the seed of the augmentation.
        epoch: the number of the epoch. Each epoch has a different augmentation.
    """

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
        self.pairs, self.palette, self.classes = pairs, palette, classes
        self.resize, self.augmentation, self.seed, self.epoch = resize, augmentation, seed, epoch

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.pairs)

    def __getitem__(self, item: int | Filler) -> Example:
        """Read the example at an index; the example of a `Filler` has a void mask and an empty id.

        Raises:
            HypercolumnsError: if the files can't be used.
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
    """Batch sampler that yields this rank's images of each step of an epoch.

    In a step with fewer images than ranks, the ranks without an image get a `Filler`, because all ranks must take part
    in every step.

    Args:
        order: the indices of the images, in the order of the epoch.
        batch_size: the largest number of images in a step, over all ranks together.
        rank: the rank of this process.
        processes: the number of ranks.
        done: the number of steps to skip at the start, because they were taken before an interruption.
    """

    def __init__(self, order: Sequence[int], batch_size: int, rank: int = 0, processes: int = 1, done: int = 0) -> None:
        self.order, self.batch_size, self.rank, self.processes, self.done = order, batch_size, rank, processes, done

    def __len__(self) -> int:
        """Return the number of steps of the whole epoch, including the skipped steps."""
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[list[int | Filler]]:
        """Yield a list per step: the indices of this rank's images, or a single `Filler` if the rank gets none."""
        for start in range(self.done * self.batch_size, len(self.order), self.batch_size):
            step = self.order[start : start + self.batch_size]
            first, last = (len(step) * number // self.processes for number in (self.rank, self.rank + 1))
            yield [*step[first:last]] or [Filler(step[0])]


class ImageDataModule(ResumableDataModule):
    """Data module of images with masks. The ranks share the images of each training step, and the validation images.

    Training batches hold images of the same size. Validation batches hold one whole image each.

    Args:
        image_set: the index of the data set.
        batch_size: the largest number of images in a training step, over all ranks together. The images that a rank
            gets in one step must have the same size; `resize` or a random crop ensures this.
        num_workers: the number of worker processes that read; 0 reads in this process.
        resize: (height, width) that training images are resized to, whatever their aspect ratio; None for no resizing.
            Validation images keep their own size.
        augmentation: the random changes of the training images; None for none.
        seed: the seed of the order and of the augmentation.
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
        super().__init__()
        check_int("batch_size", batch_size, minimum=1)
        check_int("num_workers", num_workers, minimum=0)
        self.image_set, self.batch_size, self.num_workers = image_set, batch_size, num_workers
        self.resize, self.augmentation, self.seed = resize, augmentation, seed

    def dataset(self, split: str) -> ImageDataset:
        """Make the dataset of a split without augmentation, but with `resize`."""
        return ImageDataset(
            self.image_set.splits[split], self.image_set.palette, len(self.image_set.classes), resize=self.resize
        )

    def augmented(self, split: str, epoch: int) -> ImageDataset:
        """Make the dataset of a split with the augmentation of an epoch."""
        dataset = self.dataset(split)
        dataset.augmentation, dataset.seed, dataset.epoch = self.augmentation, self.seed, epoch
        return dataset

    def train_dataloader(self) -> DataLoader[Example]:
        """Make the loader of the training images for the current epoch. The trainer must call this every epoch."""
        epoch, done = self.start
        dataset = self.augmented("train", epoch)
        order = torch.randperm(len(dataset), generator=randomness.generator(self.seed, "order", epoch)).tolist()
        return self._loader(dataset, ImageBatchSampler(order, self.batch_size, *self.share, done))

    def val_dataloader(self) -> DataLoader[Example]:
        """Make the loader of the validation images at their own size. Each image goes to exactly one rank.

        Raises:
            HypercolumnsError: if there are fewer validation images than ranks.
        """
        dataset = self.dataset("val")
        dataset.resize = None
        rank, processes = self.share
        if processes > len(dataset):
            raise HypercolumnsError(
                f"{processes} processes can't share {len(dataset)} val images; use at most {len(dataset)} processes"
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
    """Stack examples into a batch.

    Raises:
        HypercolumnsError: if the images differ in size.
    """
    sizes = {tuple(example.mask.shape) for example in examples}
    if len(sizes) > 1:
        raise HypercolumnsError(
            f"images of different sizes ({', '.join(f'{w}x{h}' for h, w in sorted(sizes)[:3])}) can't form one batch; "
            f"crop or resize them to one size, or use batches of one image"
        )
    return Batch(
        torch.stack([example.image for example in examples]),
        torch.stack([example.mask for example in examples]),
        [example.id for example in examples],
        torch.stack([example.box for example in examples]),
    )
