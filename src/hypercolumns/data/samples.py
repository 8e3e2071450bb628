"""Sampled hypercolumns: the Lightning data module."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hypercolumns.data.order import Batches
from hypercolumns.errors import check_whole
from hypercolumns.store import Samples, SampleStore, Split


class SampleDataset(Dataset[Samples]):
    """The samples of a split; batches are fetched whole."""

    def __init__(self, split: Split) -> None:
        """The samples of `split`."""
        self.split = split

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.split)

    def __getitems__(self, rows: Tensor) -> Samples:
        """The samples of these rows (N,)."""
        return self.split.fetch(rows)


class SampleData(pl.LightningDataModule):
    """Mini-batches of samples; in training mixed over all images, by an order that (seed, epoch) decides."""

    def __init__(self, store: SampleStore, batch_size: int = 1024, num_workers: int = 0, seed: int = 0) -> None:
        """The samples of `store`, in batches of at most `batch_size`."""
        super().__init__()
        check_whole("batch_size", batch_size, least=1)
        check_whole("num_workers", num_workers, least=0)
        self.store, self.batch_size, self.num_workers, self.seed = store, batch_size, num_workers, seed

    def train_dataloader(self) -> DataLoader[Samples]:
        """Every training sample once, in the order of the trainer's epoch; reload it every epoch."""
        return self._loader("train", self.seed)

    def val_dataloader(self) -> DataLoader[Samples]:
        """Every validation sample once."""
        return self._loader("val", None)

    def _loader(self, name: str, seed: int | None) -> DataLoader[Samples]:
        epoch, rank, world_size = 0, 0, 1
        if self.trainer is not None:
            epoch, rank, world_size = self.trainer.current_epoch, self.trainer.global_rank, self.trainer.world_size
        split = self.store.split(name)
        return DataLoader(
            SampleDataset(split),
            batch_sampler=Batches(len(split), self.batch_size, seed, epoch, rank, world_size),
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
        )


def _as_it_is(batch: Any) -> Any:
    return batch
