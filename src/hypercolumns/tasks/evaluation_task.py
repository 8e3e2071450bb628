"""Scoring: how images are labelled, one by one."""

import pytorch_lightning as pl
from torch import Tensor, nn

from hypercolumns.evaluation import ImageConfusion, count_image
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.tasks.segmentation import ImageBatch


class EvaluationTask(pl.LightningModule):
    """Label batches of (images, masks (B, H, W), ids, crop boxes) and keep the counts of each image in `counts`."""

    def __init__(self, labeller: nn.Module, classes: int, boundary_width: int) -> None:
        """The task of scoring a labeller.

        Args:
            labeller: from images (B, 3, H, W) to class indices (B, H, W).
            classes: how many.
            boundary_width: of the band along true boundaries, in pixels.
        """
        super().__init__()
        self.labeller, self.classes, self.boundary_width = labeller, classes, boundary_width
        self.counts: list[ImageConfusion] = []

    def test_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Count the pixels of one batch."""
        images, masks, ids, _ = batch
        for id, labels, mask in zip(ids, self.labeller(images), masks, strict=True):
            self.counts.append(count_image(id, labels, mask, self.classes, self.boundary_width))


class LabelPredictor(nn.Module):
    """Label images (B, 3, H, W) by a segmenter, with test-time augmentation."""

    def __init__(self, segmenter: Segmenter, tta: TestTimeAugmentation) -> None:
        super().__init__()
        self.segmenter, self.tta = segmenter, tta

    def forward(self, images: Tensor) -> Tensor:
        """Class indices (B, H, W) uint8."""
        return self.segmenter.labels(images, tta=self.tta)
