"""Sampled hypercolumns: the Lightning data module."""

from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hypercolumns.data.batch_samplers import GroupedBatchSampler, SampleBatchSampler
from hypercolumns.data.modules.resumable import ResumableDataModule
from hypercolumns.errors import check_int
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.store import Samples, SampleStore, Split


class SampleDataset(Dataset[Samples]):
    """The samples of a split; batches are fetched whole."""

    def __init__(self, split: Split, with_coordinates: bool = False) -> None:
        """The samples of `split`; on request with coordinates."""
        self.split, self.with_coordinates = split, with_coordinates

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.split)

    def __getitems__(self, rows: Tensor) -> Samples:
        """The samples of these rows (N,)."""
        return self.split.fetch(rows, self.with_coordinates)


class SampleDataModule(ResumableDataModule):
    """Mini-batches of samples; in training mixed over all images, by an order that (seed, epoch) decides.

    Several processes share each of them.
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
        """The samples of `store`, in batches of at most `batch_size`, in training from at most `images_per_batch`.

        Batches have coordinates, where in their images samples are, only if `with_coordinates` is set.
        """
        super().__init__()
        check_int("batch_size", batch_size, minimum=1)
        check_int("num_workers", num_workers, minimum=0)
        if images_per_batch is not None:
            check_int("images_per_batch", images_per_batch, minimum=1)
        self.images_per_batch, self.with_coordinates = images_per_batch, with_coordinates
        self.store, self.batch_size, self.num_workers, self.seed = store, batch_size, num_workers, seed

    def train_dataloader(self) -> DataLoader[Samples]:
        """Every training sample once, in the order of the trainer's epoch; reload it every epoch."""
        split = self.store.split("train")
        return self._loader(split, self._batches(split, *self.start))

    def val_dataloader(self) -> DataLoader[Samples]:
        """Every validation sample once."""
        split = self.store.split("val")
        return self._loader(split, SampleBatchSampler(len(split), self.batch_size, None, 0, *self.share))

    def names(self, batch: Any, epoch: int, step: int) -> list[str]:
        """See `ResumableDataModule`."""
        rows: Tensor = next(iter(self._batches(self.store.split("train"), epoch, step)))
        return [f"sample {row}" for row in rows.tolist()]

    def _batches(self, split: Split, epoch: int, done: int) -> SampleBatchSampler | GroupedBatchSampler:
        """The batches of an epoch of training, but for those that are done."""
        where = (self.batch_size, self.seed, epoch, *self.share, done)
        if self.images_per_batch is None:
            return SampleBatchSampler(len(split), *where)
        return GroupedBatchSampler(split.samples_per_image(), self.images_per_batch, *where)

    def _loader(self, split: Split, batches: SampleBatchSampler | GroupedBatchSampler) -> DataLoader[Samples]:
        return DataLoader(
            SampleDataset(split, self.with_coordinates),
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=ignore_signals_in_worker,
        )


def _as_it_is(batch: Any) -> Any:
    return batch
