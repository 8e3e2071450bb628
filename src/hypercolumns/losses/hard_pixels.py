"""Online mining of hard pixels: cross-entropy of those alone that the model gets most wrong."""

import math

import torch.nn.functional as F
from torch import Tensor

from hypercolumns.errors import HypercolumnsError, check_fraction
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.losses.cross_entropy import CrossEntropy
from hypercolumns.losses.loss import ClassWeights, Loss


class OHEMCrossEntropy(Loss):
    """Mean cross-entropy of the hardest pixels of a batch (Shrivastava et al., CVPR 2016, arXiv:1604.03540).

    Those are the share `keep` of its labelled pixels with the highest loss, and besides all others to whose class the
    model gives a probability of less than `below`: at the start of a training, when nearly all are hard, none is left
    out for being a little less so. Which are hardest is asked without weights of classes; those weigh the mean.
    """

    supports_ddp = False  # which pixels are hardest in a whole batch, no process knows by itself

    def __init__(self, keep: float = 0.25, below: float = 0.0) -> None:
        """keep: in (0, 1]; 1 is all pixels. below: in [0, 1]; 0 adds none to the share."""
        super().__init__()
        check_fraction("loss.keep", keep)
        check_fraction("loss.below", below)
        if not keep:
            raise HypercolumnsError("loss.keep=0 must be a share of the pixels above 0, such as 0.25")
        self.keep, self.below = keep, below
        self.loss = CrossEntropy()

    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """See `Loss`; weights "batch" are inverse to the counts among the pixels that are kept."""
        return self.loss.set_class_weights(class_weights)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `Loss`."""
        labelled = labels != IGNORE_INDEX
        logits, labels = logits[labelled], labels[labelled]
        losses = F.cross_entropy(logits.detach().float(), labels, reduction="none")
        hard = int((losses > -math.log(self.below)).sum()) if self.below else 0
        kept = losses.topk(max(math.ceil(self.keep * len(losses)), hard)).indices
        mean: Tensor = self.loss(logits[kept], labels[kept])
        return mean
