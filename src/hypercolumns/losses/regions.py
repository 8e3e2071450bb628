"""Region losses, which measure the overlap of the predicted and the true region of each class over a batch.

Both losses come from the library segmentation_models_pytorch, which the extra `losses` installs. The library accepts
lists of pixels as well as images, and can leave out void pixels. kornia's Lovasz loss and MONAI's Dice loss can leave
out the pixels of a label only if the label is a class index, and the void label 255 is not. In both losses, all classes
count equally. Therefore, class weights are not supported.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.losses.base import ClassWeights, Loss


class _Region(Loss):
    supports_ddp = False  # the overlap over a batch is not the mean of the overlaps over the ranks' parts of it

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Wrap a function that computes the loss from logits (B, classes, H, W) and labels (B, H, W) without void."""
        super().__init__()
        self.loss = loss

    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """Return False, because the loss does not support class weights; see `Loss.set_class_weights`."""
        return False

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss over the pixels that are not void; see `Loss.forward`."""
        labelled = labels != IGNORE_INDEX
        if not labelled.any():
            return logits.sum() * 0
        # The library expects images, so all pixels together are passed as a single image that is one pixel high.
        return self.loss(logits[labelled].float().T[None, :, None], labels[labelled][None, None])


class Dice(_Region):
    """The Dice loss: 1 - Dice coefficient, averaged over all classes (Milletari et al., arXiv:1606.04797).

    The Dice coefficient of a class measures the overlap of the predicted probabilities of the class with the pixels
    that are labelled with the class. If no pixel of the batch is labelled with a class, the loss of this class is 0 in
    the average.

    Raises:
        HypercolumnsError: if segmentation_models_pytorch is not installed.
    """

    def __init__(self) -> None:
        super().__init__(_library().DiceLoss("multiclass"))


class Lovasz(_Region):
    """The Lovasz-Softmax loss, a convex surrogate of 1 - IoU (Berman et al., arXiv:1705.08790).

    The loss is averaged over the classes that occur in the labels of the batch. It is computed over the whole batch
    rather than image by image, because the mIoU is computed over all images together, too.

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
            "the losses Dice and Lovasz need segmentation-models-pytorch, which is not installed; run "
            "uv sync --extra losses or pip install '.[losses]', or choose the loss CrossEntropy instead"
        ) from error
    return losses
