"""Region losses, which measure the overlap of prediction and ground truth of each class over a batch.

Both losses come from segmentation_models_pytorch, an optional extra. It offers both for points as well as for images,
and can exclude void pixels. kornia's Lovasz loss and MONAI's Dice loss can ignore a label only if the label is a class.
All classes count equally in both losses, so class weights are not supported.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.losses.base import ClassWeights, Loss


class _Region(Loss):
    supports_ddp = False  # the overlap over a batch is not the mean of the overlaps over its parts

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Wrap a loss of logits (B, classes, H, W) against labels (B, H, W) without void."""
        super().__init__()
        self.loss = loss

    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """See `Loss`."""
        return False

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `Loss`."""
        labelled = labels != IGNORE_INDEX
        if not labelled.any():
            return logits.sum() * 0
        # The library expects images, so the pixels are passed as one image that is one pixel high.
        return self.loss(logits[labelled].float().T[None, :, None], labels[labelled][None, None])


class Dice(_Region):
    """Dice loss: 1 - Dice coefficient, averaged over classes (Milletari et al., arXiv:1606.04797).

    The Dice coefficient compares a class's probabilities with its labels. A class without labelled pixels in the batch
    contributes 0 to the average.

    Raises:
        HypercolumnsError: if segmentation_models_pytorch is not installed.
    """

    def __init__(self) -> None:
        super().__init__(_library().DiceLoss("multiclass"))


class Lovasz(_Region):
    """Lovasz-Softmax loss, the convex surrogate of 1 - IoU (Berman et al., arXiv:1705.08790), averaged over classes.

    The loss is computed over the whole batch rather than per image, because the mIoU is computed over all images too.

    Raises:
        HypercolumnsError: if segmentation_models_pytorch is not installed.
    """

    def __init__(self) -> None:
        super().__init__(_library().LovaszLoss("multiclass"))


def _library() -> Any:
    try:
        from segmentation_models_pytorch import losses
    except ImportError as error:
        raise HypercolumnsError(
            "the losses Dice and Lovasz need segmentation-models-pytorch, which is not installed: run "
            "uv sync --extra losses, or pip install '.[losses]'; or choose CrossEntropy"
        ) from error
    return losses
