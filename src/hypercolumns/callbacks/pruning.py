"""Stop unpromising trials of a search early."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import pytorch_lightning as pl

# Takes an epoch, counted from 0, and its metric (higher is better), and returns whether to stop the trial.
ShouldPrune = Callable[[int, float], bool]


class PrunedError(Exception):
    """The search stopped a trial early, because of its metric."""


class PrunableStage(NamedTuple):
    """The stage of a trial that the search can stop early, and the function that decides whether to stop it."""

    stage: str
    should_prune: ShouldPrune


_prunable: ContextVar[PrunableStage | None] = ContextVar("prunable", default=None)


@contextmanager
def search_trial(stage: str, should_prune: ShouldPrune) -> Iterator[None]:
    """Let the search stop trainings of `stage` inside the `with` block; trainings of other stages run to the end."""
    token = _prunable.set(PrunableStage(stage, should_prune))
    try:
        yield
    finally:
        _prunable.reset(token)


class SearchPruning(pl.Callback):
    """Report the monitored metric of each validated epoch to the search, and stop the trial if the search says so.

    To stop the trial, the callback raises PrunedError at the start of the next epoch. The checkpoint of the reported
    epoch exists by then, so the same settings can be resumed later. Outside the `with` block of `search_trial`, or if
    the block names another stage, the callback does nothing.

    Args:
        stage: the stage that trains.
        monitor: the metric that selects the best epoch.
        minimise: whether a lower metric is better.
    """

    def __init__(self, stage: str, monitor: str, minimise: bool) -> None:
        prunable = _prunable.get()
        self.should_prune = prunable.should_prune if prunable and prunable.stage == stage else None
        self.monitor, self.minimise = monitor, minimise
        self._validated_epoch: int | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated_epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.should_prune is None or self._validated_epoch is None or self.monitor not in trainer.callback_metrics:
            return
        epoch, self._validated_epoch = self._validated_epoch, None
        metric = float(trainer.callback_metrics[self.monitor])
        if self.should_prune(epoch, -metric if self.minimise else metric):
            raise PrunedError(f"stopped by the search after epoch {epoch + 1} with {self.monitor} {metric:.3f}")
