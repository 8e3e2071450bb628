"""Online hard example mining: the cross-entropy of the pixels with the highest loss."""

import math

import torch.nn.functional as F
from torch import Tensor

from hypercolumns.errors import ArgumentError, check_fraction
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.losses.base import ClassWeights, Loss
from hypercolumns.losses.cross_entropy import CrossEntropy


class OHEMCrossEntropy(Loss):
    """The mean cross-entropy of the hardest pixels of a batch (Shrivastava et al., CVPR 2016, arXiv:1604.03540).

    The labelled pixels with the highest cross-entropy are kept. Their number is the larger of two numbers. The first is
    `keep_ratio` times the number of labelled pixels. The second is the number of labelled pixels for which the model
    gives the true class a probability below `threshold`. Early in training, the second number is the larger one,
    because nearly all pixels are hard. Class weights do not change which pixels are kept, only their weights in the
    mean.

    Args:
        keep_ratio: the minimum fraction of the labelled pixels that is kept, in (0, 1]; 1 keeps all labelled pixels.
        threshold: a probability in [0, 1]. A labelled pixel is always kept if the model gives its true class a lower
            probability. With 0, only `keep_ratio` decides.

    Raises:
        ArgumentError: if `keep_ratio` or `threshold` is outside its range.
    """

    supports_ddp = False  # a rank does not know which pixels are hardest in the whole batch

    def __init__(self, keep_ratio: float = 0.25, threshold: float = 0.0) -> None:
        super().__init__()
        check_fraction("keep_ratio", keep_ratio)
        check_fraction("threshold", threshold)
        if not keep_ratio:
            raise ArgumentError("keep_ratio=0 must be above 0 and at most 1, such as 0.25")
        self.keep_ratio, self.threshold = keep_ratio, threshold
        self.loss = CrossEntropy()

    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """Set the class weights, and return True; see `Loss.set_class_weights`.

        With "batch", the weights are inversely proportional to the classes' pixel counts among the kept pixels.
        """
        return self.loss.set_class_weights(class_weights)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean cross-entropy of the hardest labelled pixels; see `Loss.forward`."""
        labelled = labels != IGNORE_INDEX
        logits, labels = logits[labelled], labels[labelled]
        losses = F.cross_entropy(logits.detach().float(), labels, reduction="none")
        hard = int((losses > -math.log(self.threshold)).sum()) if self.threshold else 0
        kept = losses.topk(max(math.ceil(self.keep_ratio * len(losses)), hard)).indices
        mean: Tensor = self.loss(logits[kept], labels[kept])
        return mean
