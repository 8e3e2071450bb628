"""Score the predictions of images, one image at a time."""

import pytorch_lightning as pl
from torch import Tensor, nn

from hypercolumns.evaluation import ImageConfusion, count_image
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.tasks.segmentation import ImageBatch


class EvaluationTask(pl.LightningModule):
    """Predict batches of images and collect a confusion matrix per image in `counts`.

    A batch is (images (B, 3, H, W), masks (B, H, W), ids, crop boxes (B, 4)).

    Args:
        labeller: maps images (B, 3, H, W) to class indices (B, H, W).
        classes: the number of classes.
        boundary_width: the width of the band along true boundaries, in pixels.
    """

    def __init__(self, labeller: nn.Module, classes: int, boundary_width: int) -> None:
        super().__init__()
        self.labeller, self.classes, self.boundary_width = labeller, classes, boundary_width
        self.counts: list[ImageConfusion] = []

    def test_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Count the pixels of each image in a batch."""
        images, masks, ids, _ = batch
        for id, labels, mask in zip(ids, self.labeller(images), masks, strict=True):
            self.counts.append(count_image(id, labels, mask, self.classes, self.boundary_width))


class LabelPredictor(nn.Module):
    """Predict class indices of images with a segmenter and test-time augmentation."""

    def __init__(self, segmenter: Segmenter, tta: TestTimeAugmentation) -> None:
        super().__init__()
        self.segmenter, self.tta = segmenter, tta

    def forward(self, images: Tensor) -> Tensor:
        """Predict the classes (B, H, W) uint8 of images (B, 3, H, W)."""
        return self.segmenter.labels(images, tta=self.tta)
