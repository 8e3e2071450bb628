"""Scoring: how images are labelled, one by one."""

import pytorch_lightning as pl
from torch import Tensor, nn

from hypercolumns.evaluation import ImageConfusion, count_image
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.tasks.segmentation import ImageBatch


class EvaluationTask(pl.LightningModule):
    """Label batches of (images, masks (B, H, W), ids, boxes) and keep the counts of each image in `counts`."""

    def __init__(self, labeller: nn.Module, classes: int, width: int) -> None:
        """Say how.

        Args:
            labeller: from images to class indices (B, H, W).
            classes: how many.
            width: of the band along true boundaries, in pixels.
        """
        super().__init__()
        self.labeller, self.classes, self.width = labeller, classes, width
        self.counts: list[ImageConfusion] = []

    def test_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Count the pixels of one batch."""
        images, masks, ids, _ = batch
        for id, labels, mask in zip(ids, self.labeller(images), masks, strict=True):
            self.counts.append(count_image(id, labels, mask, self.classes, self.width))


class LabelPredictor(nn.Module):
    """Gives images (B, 3, H, W) the labels of a segmenter, averaged over views."""

    def __init__(self, segmenter: Segmenter, tta: TestTimeAugmentation) -> None:
        """What labels, and how."""
        super().__init__()
        self.segmenter, self.tta = segmenter, tta

    def forward(self, images: Tensor) -> Tensor:
        """Class indices (B, H, W) uint8."""
        return self.segmenter.labels(images, tta=self.tta)
