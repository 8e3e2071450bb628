"""The dataset and the Lightning data module of the samples in a store."""

from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hypercolumns.data.batch_samplers import GroupedBatchSampler, SampleBatchSampler
from hypercolumns.data.modules.resumable import ResumableDataModule
from hypercolumns.errors import check_int
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.store import Samples, SampleStore, Split


class SampleDataset(Dataset[Samples]):
    """Dataset of the samples in a split of a store. It fetches the samples of a whole batch at once.

    Args:
        split: the split of the store.
        with_coordinates: whether to compute the normalised coordinates of the samples' pixels, see `Samples`.
    """

    def __init__(self, split: Split, with_coordinates: bool = False) -> None:
        self.split, self.with_coordinates = split, with_coordinates

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.split)

    def __getitems__(self, rows: Tensor) -> Samples:
        """Fetch the samples with the given row numbers, (N,) int64, as one batch."""
        return self.split.fetch(rows, self.with_coordinates)


class SampleDataModule(ResumableDataModule):
    """Data module of the samples in a store. It divides each mini-batch among the ranks.

    Each epoch takes all training samples, in a shuffled order that differs from epoch to epoch. The validation samples
    are not shuffled.

    Args:
        store: the store of samples.
        batch_size: the largest number of samples in a mini-batch, counted over all ranks together.
        num_workers: the number of worker processes that read the store; 0 reads in this process.
        seed: the seed of the shuffled orders.
        images_per_batch: the largest number of images that the samples of a training mini-batch come from; None for no
            limit.
        with_coordinates: whether to compute the normalised coordinates of the samples' pixels, see `Samples`.
    """

    def __init__(
        self,
        store: SampleStore,
        batch_size: int = 1024,
        num_workers: int = 0,
        seed: int = 0,
        images_per_batch: int | None = None,
        with_coordinates: bool = False,
    ) -> None:
        super().__init__()
        check_int("batch_size", batch_size, minimum=1)
        check_int("num_workers", num_workers, minimum=0)
        if images_per_batch is not None:
            check_int("images_per_batch", images_per_batch, minimum=1)
        self.images_per_batch, self.with_coordinates = images_per_batch, with_coordinates
        self.store, self.batch_size, self.num_workers, self.seed = store, batch_size, num_workers, seed

    def train_dataloader(self) -> DataLoader[Samples]:
        """Make the loader of this rank's training samples for the current epoch.

        The loader yields the samples in the order of one epoch, so the trainer must make a new loader for every epoch.
        """
        split = self.store.split("train")
        return self._loader(split, self._batches(split, *self.start))

    def val_dataloader(self) -> DataLoader[Samples]:
        """Make the loader of this rank's validation samples, in the order on disk."""
        split = self.store.split("val")
        return self._loader(split, SampleBatchSampler(len(split), self.batch_size, None, 0, *self.share))

    def names(self, batch: Any, epoch: int, step: int) -> list[str]:
        """Name each sample of a training batch by its row number in the train split, as in "sample 17"."""
        rows: Tensor = next(iter(self._batches(self.store.split("train"), epoch, step)))
        return [f"sample {row}" for row in rows.tolist()]

    def _batches(self, split: Split, epoch: int, done: int) -> SampleBatchSampler | GroupedBatchSampler:
        """Make the batch sampler of a training epoch. The sampler skips the first `done` mini-batches of the epoch."""
        common = (self.batch_size, self.seed, epoch, *self.share, done)
        if self.images_per_batch is None:
            return SampleBatchSampler(len(split), *common)
        return GroupedBatchSampler(split.samples_per_image(), self.images_per_batch, *common)

    def _loader(self, split: Split, batches: SampleBatchSampler | GroupedBatchSampler) -> DataLoader[Samples]:
        return DataLoader(
            SampleDataset(split, self.with_coordinates),
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=keep_batch,
            worker_init_fn=ignore_signals_in_worker,
        )


def keep_batch(batch: Any) -> Any:
    """Return a batch unchanged: `SampleDataset` fetches whole batches, so there is nothing to collate."""
    return batch
