"""The base class of the data modules, which resume a training within an epoch and share batches among ranks."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import pytorch_lightning as pl


class TrainingPosition(NamedTuple):
    """The position that a training has reached.

    Attributes:
        epoch: the number of the epoch, from 0.
        batches: the number of batches already taken from that epoch.
    """

    epoch: int = 0
    batches: int = 0


class ProcessShare(NamedTuple):
    """The rank of a process and the number of ranks, which determine the process's part of each batch.

    Attributes:
        rank: the rank of the process.
        processes: the number of ranks.
    """

    rank: int = 0
    processes: int = 1


class ResumableDataModule(pl.LightningDataModule, ABC):
    """A data module that saves the position of the training in checkpoints, and resumes from it.

    Attributes:
        position: the position that the next checkpoint will save. Loading a checkpoint sets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.position = TrainingPosition()

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the training, for a checkpoint."""
        return self.position._asdict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position of the training. Lightning calls this method before `train_dataloader`."""
        self.position = TrainingPosition(**state_dict)

    @abstractmethod
    def names(self, batch: Any, epoch: int, step: int) -> list[str]:
        """Name the content of a training batch of this rank, for messages.

        Args:
            batch: the batch.
            epoch: the number of the epoch that the batch comes from.
            step: the number of the batch in the epoch.

        Returns:
            The name of each image or sample of the batch, such as "image 2007_000032".
        """
        ...

    @property
    def start(self) -> TrainingPosition:
        """The current epoch, and the number of its batches that were taken before an interruption."""
        # Lightning asks for the first loader before the trainer's epoch is restored from the checkpoint.
        epoch = max(self.trainer.current_epoch if self.trainer else 0, self.position.epoch)
        return TrainingPosition(epoch, self.position.batches if epoch == self.position.epoch else 0)

    @property
    def share(self) -> ProcessShare:
        """The rank of this process and the number of ranks; rank 0 of 1 without a trainer."""
        return ProcessShare(self.trainer.global_rank, self.trainer.world_size) if self.trainer else ProcessShare()
