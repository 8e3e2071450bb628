"""Losses of a whole batch's overlap of prediction and truth, class by class, by segmentation_models_pytorch.

That library has both, over points as over images, with void left out; kornia's Lovasz loss and MONAI's Dice know no
void that is not a class. It is an optional extra. Each class counts alike, so they have no weights of classes.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.losses.base import ClassWeights, Loss


class _Region(Loss):
    supports_ddp = False  # an overlap over all pixels is no mean of those over parts of them

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        """loss: of logits (B, classes, H, W) against labels (B, H, W), none of them void."""
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
        # as one image a pixel high
        return self.loss(logits[labelled].float().T[None, :, None], labels[labelled][None, None])


class Dice(_Region):
    """1 - Dice coefficient of the probabilities of each class (Milletari et al., arXiv:1606.04797), its mean.

    A class without labelled pixels in the batch counts as 0 in that mean.
    """

    def __init__(self) -> None:
        """Raises HypercolumnsError if the library is not installed."""
        super().__init__(_library().DiceLoss("multiclass"))


class Lovasz(_Region):
    """Lovasz-Softmax, the convex surrogate of 1 - IoU (Berman et al., arXiv:1705.08790), over the classes of a batch.

    That of a batch, not of an image: the metric is over all images too.
    """

    def __init__(self) -> None:
        """Raises HypercolumnsError if the library is not installed."""
        super().__init__(_library().LovaszLoss("multiclass"))


def _library() -> Any:
    try:
        from segmentation_models_pytorch import losses
    except ImportError as error:
        raise HypercolumnsError(
            "the losses Dice and Lovasz come with segmentation-models-pytorch, which is not installed: "
            "uv sync --extra losses, or pip install '.[losses]'; or use CrossEntropy"
        ) from error
    return losses
