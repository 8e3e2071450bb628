"""An exponential moving average of the weights, by Lightning's callback."""

from collections.abc import Sequence

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from hypercolumns.errors import check_number


class EMAWeightAveraging(WeightAveraging):
    """After each step the average takes (1 - decay) of the weights; it is what is scored, kept as best and saved.

    Its start is quick: after n steps the decay is no more than (1 + n) / (10 + n), so that short trainings don't score
    the weights that they began with. What is not trained stays the same to the bit, and counters are counted.

    A checkpoint holds the average as its `state_dict`, and beside it the weights that the training goes on with.
    """

    def __init__(self, decay: float) -> None:
        """decay: from 0, with which there is no average, to below 1, such as 0.999."""
        check_number("decay", decay, below=1)
        self.decay = decay
        super().__init__(multi_avg_fn=self._average)

    def _average(self, averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor) -> None:
        share = 1 - min(self.decay, (1 + steps.item()) / (10 + steps.item()))
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, share)  # which leaves equals as they are; Lightning's own sum of shares does not
            else:
                average.copy_(weight)
