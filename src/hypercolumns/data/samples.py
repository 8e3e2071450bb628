"""Sampled hypercolumns: the Lightning data module."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hypercolumns import seeds
from hypercolumns.errors import check_whole
from hypercolumns.store import SampleStore, Split

Samples = tuple[Tensor, Tensor]


class SampleDataset(Dataset[Samples]):
    """The samples of a split; batches are fetched whole."""

    def __init__(self, split: Split) -> None:
        """The samples of `split`."""
        self.split = split

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.split)

    def __getitems__(self, rows: Sequence[int]) -> Samples:
        """Hypercolumns (N, D) float16 and labels (N,) int64 of these rows."""
        return self.split.fetch(torch.as_tensor(rows))


class SampleData(pl.LightningDataModule):
    """Mini-batches of samples; in training mixed over all images, by an order that (seed, epoch) decides."""

    def __init__(self, store: SampleStore, batch_size: int = 1024, num_workers: int = 0, seed: int = 0) -> None:
        """The samples of `store`, in batches of `batch_size`."""
        super().__init__()
        check_whole("batch_size", batch_size, least=1)
        check_whole("num_workers", num_workers, least=0)
        self.store, self.batch_size, self.num_workers, self.seed = store, batch_size, num_workers, seed

    def train_dataloader(self) -> DataLoader[Samples]:
        """Every training sample once, in the order of the trainer's epoch; reload it every epoch."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        split = self.store.split("train")
        return self._loader(split, torch.randperm(len(split), generator=seeds.generator(self.seed, "order", epoch)))

    def val_dataloader(self) -> DataLoader[Samples]:
        """Every validation sample once."""
        split = self.store.split("val")
        return self._loader(split, torch.arange(len(split)))

    def _loader(self, split: Split, order: Tensor) -> DataLoader[Samples]:
        return DataLoader(
            SampleDataset(split),
            batch_sampler=order.split(self.batch_size),
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
        )


def _as_it_is(batch: Any) -> Any:
    return batch
