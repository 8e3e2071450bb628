"""The task of stage train: train the complete model on images."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from hypercolumns.evaluation.metrics import segmentation_metrics
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.losses import CrossEntropy, Loss, cross_entropy
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime import randomness
from hypercolumns.samplers import Sampler
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
from hypercolumns.tasks.val_metrics import OF_IMAGES, VAL_LOSS, log_val_metrics

# Logits of all pixels and classes of a batch of val images that are computed at once.
MAX_LOGITS = 1 << 25

ImageBatch = tuple[Tensor, Tensor, Sequence[str], Tensor]


class SegmentationTask(pl.LightningModule):
    """Train a segmenter on batches of (images (B, 3, H, W), masks (B, H, W), ids, crop boxes (B, 4)).

    The task logs train/loss for each step, and its mean over each epoch as train/epoch_loss. Over all val images, it
    logs the metrics in `val_metrics.OF_IMAGES`, the IoU of each class, and val/loss, which is always the unweighted
    cross-entropy.

    Args:
        segmenter: the segmenter. Its classifier and the trainable layers of its backbone are trained.
        optimizer: a function that builds the optimiser from the options of the parameter groups.
        scheduler: a function that builds the learning-rate schedule from the optimiser and the number of its steps.
        sampler: chooses the training pixels of each image; None: train on all pixels.
        loss: the training loss; None: cross-entropy.
        seed: the seed for the sampler and for dropout.
        param_groups: the settings that give layers different learning rates and weight decay.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        sampler: Sampler | None = None,
        loss: Loss | None = None,
        seed: int = 0,
        param_groups: ParamGroupConfig = UNIFORM,
    ) -> None:
        super().__init__()
        self.segmenter, self.make_optimizer, self.make_scheduler = segmenter, optimizer, scheduler
        self.sampler, self.seed = sampler, seed
        self.classes, self.palette = segmenter.classes, segmenter.palette
        self.param_groups, self.loss = param_groups, loss or CrossEntropy()
        self.confusion = confusion_metric(len(segmenter.classes))
        self.epoch_loss, self.val_loss = WeightedMean(), WeightedMean()

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
        """Compute, log and return the training loss of one batch."""
        images, masks, ids, boxes = batch
        with randomness.seeded(self.seed, "step", self.current_epoch, rank_step_index(batch_idx)):
            if self.sampler is None:
                logits, labels = self.segmenter(images, boxes).movedim(1, -1).flatten(0, -2), masks.flatten().long()
            else:
                points, labels = self.sample_points(self.sampler, batch)
                logits = self.segmenter.logits_at(images, points, boxes).flatten(0, -2)
        loss: Tensor = self.loss(logits, labels)
        counted = sum(map(bool, ids))  # a rank without images in this step gets a filler image, whose id is empty
        self.log("train/loss", loss, prog_bar=True, batch_size=counted)
        self.epoch_loss.update(loss, counted)
        self.log("train/epoch_loss", self.epoch_loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
        """Add one batch of val images to the metrics, and return the predicted class indices (B, H, W) uint8."""
        images, masks, _, _ = batch
        if masks.numel() * len(self.classes) > MAX_LOGITS:
            return self._validate_in_parts(images, masks)
        logits = self.segmenter(images)
        labels: Tensor = logits.argmax(1)
        self.confusion.update(labels, masks)
        loss = cross_entropy(logits.movedim(1, -1).flatten(0, -2), masks.flatten().long(), None)
        self.val_loss.update(loss, len(images))
        self.log(VAL_LOSS, self.val_loss)
        return labels.byte()

    def _validate_in_parts(self, images: Tensor, masks: Tensor) -> Tensor:
        """Do the same as `validation_step`, except for rounding, without the logits of all pixels at once."""
        predicted = torch.empty_like(masks, dtype=torch.uint8)
        losses, counted = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)

        def note(rows: slice, columns: slice, logits: Tensor) -> None:
            labels, truth = logits.argmax(-1), masks[:, rows, columns]
            predicted[:, rows, columns] = labels
            self.confusion.update(labels, truth)
            count = (truth != IGNORE_INDEX).sum().cpu()
            losses.add_(cross_entropy(logits.flatten(0, -2), truth.flatten().long(), None).cpu() * count)
            counted.add_(count)

        self.segmenter.visit_logits(images, note)
        self.val_loss.update((losses / counted.clamp(min=1)).to(images.device, torch.float32), len(images))
        self.log(VAL_LOSS, self.val_loss)
        return predicted

    def on_validation_epoch_end(self) -> None:
        """Log the metrics over all val images, and reset the confusion matrix."""
        metrics = segmentation_metrics(self.confusion.compute())
        self.confusion.reset()
        log_val_metrics(self, OF_IMAGES, metrics)
        log_classes(self, "val_iou", self.classes, metrics.per_class_iou)

    def configure_optimizers(self) -> Any:
        """Build the optimiser and its schedule, in the form that Lightning expects."""
        groups = self.param_groups.groups(self.segmenter.classifier, self.segmenter.backbone)
        return optimizer_with_schedule(groups, self.make_optimizer, self.make_scheduler, remaining_steps(self.trainer))

    def sample_points(self, sampler: Sampler, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Choose the training pixels of each image of a batch.

        Args:
            sampler: chooses the pixels of an image.
            batch: (images (B, 3, H, W), masks (B, H, W), ids, crop boxes (B, 4)).

        Returns:
            Two tensors: the points (B, N, 2) int64, as (row, column), on the CPU; and the labels of all points
            (B * N,) int64, on the device of the masks. N is the number of samples of the image with the most samples.
            For the other images, the missing points are (0, 0) with the label void.
        """
        images, masks, ids, boxes = batch
        points = [
            sampler(
                mask,
                randomness.generator(self.seed, "pixels", self.current_epoch, id),
                partial(self._logits, image, box),
            )
            for image, mask, id, box in zip(images, masks.cpu(), ids, boxes, strict=True)
        ]
        max_points = max(len(chosen) for chosen in points)
        filled = torch.zeros(len(points), max_points, 2, dtype=torch.int64)
        labels = torch.full((len(points), max_points), IGNORE_INDEX)
        for row, (chosen, mask) in enumerate(zip(points, masks.cpu(), strict=True)):
            filled[row, : len(chosen)] = chosen
            labels[row, : len(chosen)] = mask[chosen[:, 0], chosen[:, 1]]
        return filled, labels.flatten().to(masks.device)

    def _logits(self, image: Tensor, box: Tensor, points: Tensor) -> Tensor:
        """Predict the logits (N, classes) at points (N, 2) of an image (3, H, W) with the current weights.

        `box` (4,) is the image's crop box.
        """
        return self.segmenter.predict_logits_at(image[None], points[None], box[None])[0]
