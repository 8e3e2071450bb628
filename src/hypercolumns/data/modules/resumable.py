"""The base class of the data modules. It can resume a training within an epoch, and divide batches among ranks."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import pytorch_lightning as pl


class TrainingPosition(NamedTuple):
    """How far a training has come: the epoch, and the batches that it has taken from this epoch.

    Attributes:
        epoch: the number of the epoch, from 0.
        batches: the number of batches that the training has taken from this epoch.
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
    """A data module that saves the position of a training in checkpoints, and resumes the training at this position.

    Attributes:
        position: the position of the training. Set it before you save a checkpoint. The checkpoint stores the position,
            and loading the checkpoint restores it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.position = TrainingPosition()

    def state_dict(self) -> dict[str, Any]:
        """Return what to store in a checkpoint: the `epoch`, and the number of `batches` taken from this epoch."""
        return self.position._asdict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position of the training from a checkpoint.

        Lightning calls this method before `train_dataloader`.
        """
        self.position = TrainingPosition(**state_dict)

    @abstractmethod
    def names(self, batch: Any, epoch: int, step: int) -> list[str]:
        """Name the images or samples in a training batch of this rank, for messages.

        Args:
            batch: the batch.
            epoch: the number of the epoch that the batch comes from, from 0.
            step: the number of the batch in this epoch, from 0.

        Returns:
            A name for each image or sample in the batch, such as "image 2007_000032".
        """
        ...

    @property
    def start(self) -> TrainingPosition:
        """The current epoch, and the number of its batches that the training took before an interruption."""
        # Lightning asks for the first loader before it restores `trainer.current_epoch` from the checkpoint.
        epoch = max(self.trainer.current_epoch if self.trainer else 0, self.position.epoch)
        return TrainingPosition(epoch, self.position.batches if epoch == self.position.epoch else 0)

    @property
    def share(self) -> ProcessShare:
        """The rank of this process and the number of ranks. Without a trainer: rank 0, and one rank."""
        return ProcessShare(self.trainer.global_rank, self.trainer.world_size) if self.trainer else ProcessShare()
