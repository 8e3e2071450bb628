"""Let a search over settings stop unpromising trials early. A trial runs the stages with one combination of values."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import pytorch_lightning as pl

# Takes an epoch, counted from 0, and its metric (higher is better), and returns whether to stop the trial.
ShouldPrune = Callable[[int, float], bool]


class PrunedError(Exception):
    """The search stopped a trial early, because of the trial's metric."""


class PrunableStage(NamedTuple):
    """The stage of a trial that the search can stop early, and the function that decides whether to stop it."""

    stage: str
    should_prune: ShouldPrune


_prunable: ContextVar[PrunableStage | None] = ContextVar("prunable", default=None)


@contextmanager
def search_trial(stage: str, should_prune: ShouldPrune) -> Iterator[None]:
    """Let a search stop trainings of `stage` inside the `with` block; trainings of other stages run to their ends.

    `should_prune` is called after each validated epoch, see `SearchPruning`.
    """
    token = _prunable.set(PrunableStage(stage, should_prune))
    try:
        yield
    finally:
        _prunable.reset(token)


class SearchPruning(pl.Callback):
    """Report the monitored metric of each validated epoch to the search, and stop the trial if the search says so.

    The callback does both at the start of the next epoch; it raises PrunedError to stop the trial. The checkpoint of
    the reported epoch exists by then, so a later command with the same settings can resume the training. If the
    callback is not made inside the `with` block of `search_trial`, or the block names another stage, it does nothing.

    Args:
        stage: the stage whose training this is.
        monitor: the name of the metric that is reported.
        minimise: whether a lower value of the metric is better; the negative value is then reported.
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
