"""What the data modules share: epochs that go on where a checkpoint was saved, and are shared by processes."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import pytorch_lightning as pl


class TrainingPosition(NamedTuple):
    """Where in a training: the number of the epoch, and of the batches that were taken of it."""

    epoch: int = 0
    batches: int = 0


class ProcessShare(NamedTuple):
    """What a process takes: the number `rank` of `processes` parts."""

    rank: int = 0
    processes: int = 1


class ResumableDataModule(pl.LightningDataModule, ABC):
    """A data module whose checkpoints say where the training was.

    Attributes:
        position: where the training goes on after the checkpoint that is saved next, or was loaded.
    """

    def __init__(self) -> None:
        """At the start."""
        super().__init__()
        self.position = TrainingPosition()

    def state_dict(self) -> dict[str, Any]:
        """Called by Lightning."""
        return self.position._asdict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning, before it asks for batches."""
        self.position = TrainingPosition(**state_dict)

    @abstractmethod
    def names(self, batch: Any, epoch: int, step: int) -> list[str]:
        """For people: what a training batch of this process holds, which was that of a step of an epoch."""
        ...

    @property
    def start(self) -> TrainingPosition:
        """The epoch whose batches Lightning asks for, and how many of them were taken before an interruption."""
        # the trainer's number is that of the checkpoint only after Lightning has asked for the first time
        epoch = max(self.trainer.current_epoch if self.trainer else 0, self.position.epoch)
        return TrainingPosition(epoch, self.position.batches if epoch == self.position.epoch else 0)

    @property
    def share(self) -> ProcessShare:
        """That of this process."""
        return ProcessShare(self.trainer.global_rank, self.trainer.world_size) if self.trainer else ProcessShare()
