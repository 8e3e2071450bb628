"""The dataset, the batch sampler and the Lightning data module of images with masks."""

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
from hypercolumns.io.decoding import AS_STORED, ImageDecoding
from hypercolumns.labels import IGNORE_INDEX, LabelScheme
from hypercolumns.runtime import randomness
from hypercolumns.runtime.signals import ignore_signals_in_worker


class Example(NamedTuple):
    """An image or a crop of an image, with its mask.

    Attributes:
        image: (N, H, W) uint8, with N = `ImageDecoding.image_channels`; usually RGB. The backbone converts it to float;
            workers pass on a quarter of the bytes this way.
        mask: (H, W) uint8 class indices, 255 for void.
        id: the image's id; an empty string if the example was read for a `Filler`.
        box: (4,) float32, the crop box: (top, left, height, width) of the whole image, in pixels of `image`, see
            `hypercolumns.coordinates`.
    """

    image: Tensor
    mask: Tensor
    id: str
    box: Tensor


class Batch(NamedTuple):
    """A batch of examples of the same size.

    Attributes:
        images: (B, N, H, W) uint8, see `Example`.
        masks: (B, H, W) uint8 class indices, 255 for void.
        ids: the images' ids; an empty string for an example that was read for a `Filler`.
        boxes: (B, 4) float32, the crop box of each example, see `Example`.
    """

    images: Tensor
    masks: Tensor
    ids: list[str]
    boxes: Tensor


@dataclass(frozen=True)
class Filler:
    """An item of `ImageDataset` for a rank that gets no image in a training step.

    The rank reads the image with the given index, but with a void mask. The rank therefore takes part in the step
    without training on this image.

    Attributes:
        index: the index of the image in the dataset.
    """

    index: int


class ImageDataset(Dataset[Example]):
    """Dataset of images with masks. Each image and its mask are resized first and augmented afterwards.

    The random changes of an image depend only on `seed`, on `epoch` and on the image's id.

    Args:
        pairs: the files of the images and masks.
        scheme: the classes, and the rule that turns the pixels of a mask file into class indices.
        resize: (height, width) in pixels that each image and mask is resized to. The aspect ratio can change. None for
            no resizing.
        augmentation: the random changes of each image and its mask; None for no random changes.
        seed: the seed of the random changes.
        epoch: the number of the epoch, from 0. Each epoch has different random changes.
        decoding: the rules that turn the stored pixels of the images into RGB.
    """

    def __init__(
        self,
        pairs: Sequence[ImageMaskPair],
        scheme: LabelScheme,
        resize: tuple[int, int] | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        epoch: int = 0,
        decoding: ImageDecoding = AS_STORED,
    ) -> None:
        self.pairs, self.scheme, self.decoding = pairs, scheme, decoding
        self.resize, self.augmentation, self.seed, self.epoch = resize, augmentation, seed, epoch

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.pairs)

    def __getitem__(self, item: int | Filler) -> Example:
        """Read the example at an index. If `item` is a `Filler`, the example has a void mask and an empty id.

        Raises:
            HypercolumnsError: if the image file or the mask file can't be used.
        """
        pair = self.pairs[item.index if isinstance(item, Filler) else item]
        image, mask = read_example(pair, self.scheme, self.decoding)
        if self.resize is not None:
            image = v2.functional.resize(image, list(self.resize), antialias=True)
            mask = resize_mask(mask, self.resize)
        box = full_image_box(image.shape[-2:])[0]
        if self.augmentation is not None:
            image, mask, box = self.augmentation(image, mask, randomness.derive_seed(self.seed, self.epoch, pair.id))
        if isinstance(item, Filler):
            return Example(image, torch.full_like(mask, IGNORE_INDEX), "", box)
        return Example(image, mask, pair.id, box)


class ImageBatchSampler(Sampler[Any]):
    """Batch sampler that yields the indices of this rank's images in each step of an epoch.

    In a step with fewer images than ranks, the ranks without an image get a `Filler`, because all ranks must take part
    in every step.

    Args:
        order: the indices of the images, in the order in which the epoch takes the images.
        batch_size: the largest number of images in a step, counted over all ranks together.
        rank: the rank of this process.
        processes: the number of ranks.
        done: the number of steps to skip at the start of the epoch. The training took them before an interruption.
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
    """Data module of images with masks. It divides the images among the ranks.

    A training batch holds the images that one rank gets in one step. These images have the same size. A validation
    batch holds one whole image.

    Args:
        image_set: the index of the data set.
        batch_size: the largest number of images in a training step, counted over all ranks together. The images that a
            rank gets in one step must have the same size. Set `resize` or a random crop to ensure this.
        num_workers: the number of worker processes that read images; 0 reads in this process.
        resize: (height, width) in pixels that training images are resized to. The aspect ratio can change. None for no
            resizing. Validation images are not resized.
        augmentation: the random changes of the training images and their masks; None for no random changes.
        seed: the seed of the order of the training images and of their random changes.
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
        """Make the dataset of a split, resized to `resize` but without random changes."""
        images = self.image_set
        return ImageDataset(images.splits[split], images.scheme, resize=self.resize, decoding=images.decoding)

    def augmented(self, split: str, epoch: int) -> ImageDataset:
        """Make the dataset of a split, resized to `resize` and then with the random changes of an epoch."""
        dataset = self.dataset(split)
        dataset.augmentation, dataset.seed, dataset.epoch = self.augmentation, self.seed, epoch
        return dataset

    def train_dataloader(self) -> DataLoader[Example]:
        """Make the loader of this rank's training images for the current epoch.

        The loader yields the images in the order of one epoch, so the trainer must make a new loader for every epoch.
        """
        epoch, done = self.start
        dataset = self.augmented("train", epoch)
        order = torch.randperm(len(dataset), generator=randomness.generator(self.seed, "order", epoch)).tolist()
        return self._loader(dataset, ImageBatchSampler(order, self.batch_size, *self.share, done))

    def val_dataloader(self) -> DataLoader[Example]:
        """Make the loader of this rank's validation images. Each image goes to exactly one rank.

        The images are not resized.

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
        """Name each image of a training batch by its id, as in "image 2007_000032". Fillers get no name."""
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
    """Stack examples of the same size into a batch.

    Raises:
        HypercolumnsError: if the examples differ in height or width.
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
