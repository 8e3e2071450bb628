"""The task of stage pretrain: train a classifier on sampled hypercolumns."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.evaluation.metrics import segmentation_metrics
from hypercolumns.losses import CrossEntropy, Loss, cross_entropy
from hypercolumns.models.classifiers import Classifier
from hypercolumns.runtime import randomness
from hypercolumns.tasks.optimization import (
    OptimizerFactory,
    log_classes,
    optimizer_with_schedule,
    rank_step_index,
    remaining_steps,
)
from hypercolumns.tasks.param_groups import UNIFORM, ParamGroupConfig
from hypercolumns.tasks.running_metrics import WeightedMean, confusion_metric
from hypercolumns.tasks.schedules import SchedulerFactory
from hypercolumns.tasks.val_metrics import OF_SAMPLES, VAL_LOSS, log_val_metrics

SampleBatch = tuple[Tensor, Tensor, PixelCoordinates]


class PixelClassificationTask(pl.LightningModule):
    """Train a classifier on batches of (hypercolumns (N, D), labels (N,), normalised coordinates of the N pixels).

    The task logs train/loss for each step, and its mean over each epoch as train/epoch_loss. Over all val samples, it
    logs the metrics in `val_metrics.OF_SAMPLES`, the IoU of each class, and val/loss, which is always the unweighted
    cross-entropy. A sampler chose the val samples, so the val metrics are not comparable with metrics over all pixels.

    Args:
        classifier: the classifier to train.
        classes: the names of the classes.
        optimizer: a function that builds the optimiser from the options of the parameter groups.
        scheduler: a function that builds the learning-rate schedule from the optimiser and the number of its steps.
        loss: the training loss; None: cross-entropy.
        seed: the seed for dropout.
        param_groups: the settings that give layers different learning rates and weight decay.
    """

    def __init__(
        self,
        classifier: Classifier,
        classes: Sequence[str],
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        loss: Loss | None = None,
        seed: int = 0,
        param_groups: ParamGroupConfig = UNIFORM,
    ) -> None:
        super().__init__()
        self.classifier, self.make_optimizer, self.make_scheduler = classifier, optimizer, scheduler
        self.classes, self.seed = tuple(classes), seed
        self.param_groups, self.loss = param_groups, loss or CrossEntropy()
        self.confusion = confusion_metric(len(classes))
        self.epoch_loss, self.val_loss = WeightedMean(), WeightedMean()

    def training_step(self, batch: SampleBatch, batch_idx: int) -> Tensor:
        """Compute, log and return the training loss of one batch."""
        hypercolumns, labels, coordinates = batch
        with randomness.seeded(self.seed, "step", self.current_epoch, rank_step_index(batch_idx)):
            logits = self.classifier(hypercolumns, coordinates)
        loss: Tensor = self.loss(logits, labels)
        self.log("train/loss", loss, prog_bar=True)
        self.epoch_loss.update(loss, len(labels))
        self.log("train/epoch_loss", self.epoch_loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: SampleBatch, batch_idx: int) -> None:
        """Add one batch of val samples to the confusion matrix and to the mean val loss."""
        hypercolumns, labels, coordinates = batch
        logits = self.classifier(hypercolumns, coordinates)
        self.confusion.update(logits.argmax(1), labels)
        self.val_loss.update(cross_entropy(logits, labels, None), len(labels))
        self.log(VAL_LOSS, self.val_loss)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics over all val samples, and reset the confusion matrix."""
        metrics = segmentation_metrics(self.confusion.compute())
        self.confusion.reset()
        log_val_metrics(self, OF_SAMPLES, metrics)
        log_classes(self, "val_sample_iou", self.classes, metrics.per_class_iou)

    def configure_optimizers(self) -> Any:
        """Build the optimiser and its schedule, in the form that Lightning expects."""
        groups = self.param_groups.groups(self.classifier)
        return optimizer_with_schedule(groups, self.make_optimizer, self.make_scheduler, remaining_steps(self.trainer))
