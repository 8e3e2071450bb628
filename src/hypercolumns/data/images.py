"""Images with masks: the dataset and its Lightning data module."""

from collections.abc import Sequence
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from hypercolumns import seeds
from hypercolumns.data.image_set import ImageSet, Pair
from hypercolumns.data.transforms import Augmentation, resize_mask
from hypercolumns.errors import HypercolumnsError, check_whole
from hypercolumns.images import Palette, read_image, read_mask
from hypercolumns.places import whole_frame


class Example(NamedTuple):
    """An image (3, H, W) float in [0, 1], its mask (H, W) int64, 255 for void, and its frame (4,), see `places`."""

    image: Tensor
    mask: Tensor
    id: str
    frame: Tensor


class Batch(NamedTuple):
    """Images (B, 3, H, W) float in [0, 1] and masks (B, H, W) int64 of one size, and their frames (B, 4)."""

    images: Tensor
    masks: Tensor
    ids: list[str]
    frames: Tensor


class ImageDataset(Dataset[Example]):
    """The examples of some pairs; augmented ones differ from epoch to epoch, by (seed, epoch, id) alone."""

    def __init__(
        self,
        pairs: Sequence[Pair],
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

    def __getitem__(self, index: int) -> Example:
        """Read one; raises HypercolumnsError if its files can't be used."""
        pair = self.pairs[index]
        image, mask = read_image(pair.image), read_mask(pair.mask, self.palette, self.classes)
        if image.shape[1:] != mask.shape:
            raise HypercolumnsError(
                f"{pair.mask} is {mask.shape[1]}x{mask.shape[0]}, its image {pair.image} is "
                f"{image.shape[2]}x{image.shape[1]}; they must have the same size"
            )
        if self.resize is not None:
            image = v2.functional.resize(image, list(self.resize), antialias=True)
            mask = resize_mask(mask, self.resize)
        frame = whole_frame(image.shape[-2:])[0]
        if self.augmentation is not None:
            image, mask, frame = self.augmentation(image, mask, seeds.derive(self.seed, self.epoch, pair.id))
        return Example(image.float() / 255, mask.long(), pair.id, frame)


class ImageData(pl.LightningDataModule):
    """Batches of training images of one size, and whole validation images one at a time."""

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int = 4,
        num_workers: int = 0,
        resize: tuple[int, int] | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        """Say how.

        Args:
            image_set: the images.
            batch_size: images a training step; above 1 they must have one size, by `resize` or a crop.
            num_workers: processes that read; 0 reads in this one.
            resize: (height, width) that training images are squeezed to; validation images keep their own size.
            augmentation: of the training images.
            seed: of order and augmentation.
        """
        super().__init__()
        check_whole("batch_size", batch_size, least=1)
        check_whole("num_workers", num_workers, least=0)
        self.image_set, self.batch_size, self.num_workers = image_set, batch_size, num_workers
        self.resize, self.augmentation, self.seed = resize, augmentation, seed

    def dataset(self, split: str) -> ImageDataset:
        """The examples of a split as they are, but for `resize`."""
        return ImageDataset(
            self.image_set.splits[split], self.image_set.palette, len(self.image_set.classes), resize=self.resize
        )

    def train_dataloader(self) -> DataLoader[Example]:
        """The training images of the trainer's epoch; reload it every epoch."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        dataset = self.dataset("train")
        dataset.augmentation, dataset.seed, dataset.epoch = self.augmentation, self.seed, epoch
        order = torch.randperm(len(dataset), generator=seeds.generator(self.seed, "order", epoch)).tolist()
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        return self._loader(dataset, batches)

    def val_dataloader(self) -> DataLoader[Example]:
        """The validation images at their own size."""
        dataset = self.dataset("val")
        dataset.resize = None
        return self._loader(dataset, [[index] for index in range(len(dataset))])

    def _loader(self, dataset: ImageDataset, batches: list[list[int]]) -> DataLoader[Example]:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
        )


def collate(examples: Sequence[Example]) -> Batch:
    """Examples of one size as a batch; raises HypercolumnsError if their sizes differ."""
    sizes = {tuple(example.mask.shape) for example in examples}
    if len(sizes) > 1:
        raise HypercolumnsError(
            f"images of different sizes ({', '.join(f'{w}x{h}' for h, w in sorted(sizes)[:3])}) can't be one batch; "
            f"set augment.crop=<side>, resize=[<height>,<width>] or batch_size=1"
        )
    return Batch(
        torch.stack([example.image for example in examples]),
        torch.stack([example.mask for example in examples]),
        [example.id for example in examples],
        torch.stack([example.frame for example in examples]),
    )
