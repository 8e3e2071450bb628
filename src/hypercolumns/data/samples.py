"""Sampled hypercolumns: the Lightning data module."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hypercolumns.data.order import Batches, ImageBatches
from hypercolumns.errors import check_whole
from hypercolumns.store import Samples, SampleStore, Split


class SampleDataset(Dataset[Samples]):
    """The samples of a split; batches are fetched whole."""

    def __init__(self, split: Split, places: bool = False) -> None:
        """The samples of `split`; with `places`, where they are."""
        self.split, self.places = split, places

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.split)

    def __getitems__(self, rows: Tensor) -> Samples:
        """The samples of these rows (N,)."""
        return self.split.fetch(rows, self.places)


class SampleData(pl.LightningDataModule):
    """Mini-batches of samples; in training mixed over all images, by an order that (seed, epoch) decides."""

    def __init__(
        self,
        store: SampleStore,
        batch_size: int = 1024,
        num_workers: int = 0,
        seed: int = 0,
        images_per_batch: int | None = None,
        places: bool = False,
    ) -> None:
        """The samples of `store`, in batches of at most `batch_size`, in training from at most `images_per_batch`.

        With `places`, batches say where in their images samples are.
        """
        super().__init__()
        check_whole("batch_size", batch_size, least=1)
        check_whole("num_workers", num_workers, least=0)
        if images_per_batch is not None:
            check_whole("images_per_batch", images_per_batch, least=1)
        self.images_per_batch, self.places = images_per_batch, places
        self.store, self.batch_size, self.num_workers, self.seed = store, batch_size, num_workers, seed

    def train_dataloader(self) -> DataLoader[Samples]:
        """Every training sample once, in the order of the trainer's epoch; reload it every epoch."""
        split, epoch = self.store.split("train"), self._epoch()
        if self.images_per_batch is None:
            return self._loader(split, Batches(len(split), self.batch_size, self.seed, *epoch))
        rows = split.samples_per_image()
        return self._loader(split, ImageBatches(rows, self.images_per_batch, self.batch_size, self.seed, *epoch))

    def val_dataloader(self) -> DataLoader[Samples]:
        """Every validation sample once."""
        split = self.store.split("val")
        return self._loader(split, Batches(len(split), self.batch_size, None, *self._epoch()))

    def _epoch(self) -> tuple[int, int, int]:
        """The number of the epoch, that of this process, and how many processes there are."""
        if self.trainer is None:
            return 0, 0, 1
        return self.trainer.current_epoch, self.trainer.global_rank, self.trainer.world_size

    def _loader(self, split: Split, batches: Batches | ImageBatches) -> DataLoader[Samples]:
        return DataLoader(
            SampleDataset(split, self.places),
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
        )


def _as_it_is(batch: Any) -> Any:
    return batch
