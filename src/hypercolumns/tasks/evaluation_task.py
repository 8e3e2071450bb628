"""The task that scores predictions. It computes the confusion matrices of each image."""

import pytorch_lightning as pl
from torch import Tensor, nn

from hypercolumns.evaluation import ImageConfusion, count_image
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.tasks.segmentation import ImageBatch


class EvaluationTask(pl.LightningModule):
    """Predict the labels of images, and append an `ImageConfusion` for each image to the list `counts`.

    An `ImageConfusion` holds two confusion matrices: one of all pixels, and one of the pixels near boundaries.

    A batch is (images (B, 3, H, W), masks (B, H, W), ids, crop boxes (B, 4)). The crop boxes are not used. To score
    labels (B, H, W) that exist already, pass them in place of the images, and `nn.Identity()` as the labeller.

    Args:
        labeller: a module that maps images (B, 3, H, W) to predicted class indices (B, H, W).
        classes: the number of classes.
        boundary_width: the width of the boundary band, in pixels, see `labels.boundary_band`.
    """

    def __init__(self, labeller: nn.Module, classes: int, boundary_width: int) -> None:
        super().__init__()
        self.labeller, self.classes, self.boundary_width = labeller, classes, boundary_width
        self.counts: list[ImageConfusion] = []

    def test_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Append an `ImageConfusion` for each image of a batch to `counts`."""
        images, masks, ids, _ = batch
        for id, labels, mask in zip(ids, self.labeller(images), masks, strict=True):
            self.counts.append(count_image(id, labels, mask, self.classes, self.boundary_width))


class LabelPredictor(nn.Module):
    """Predict the class indices of images with a segmenter and test-time augmentation."""

    def __init__(self, segmenter: Segmenter, tta: TestTimeAugmentation) -> None:
        super().__init__()
        self.segmenter, self.tta = segmenter, tta

    def forward(self, images: Tensor) -> Tensor:
        """Predict the class indices (B, H, W) uint8 of images (B, 3, H, W)."""
        return self.segmenter.labels(images, tta=self.tta)
